from __future__ import annotations

import pytest

from parfocal_labels.answers import TaskKind
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.records import ProjectChange, Rules
from parfocal_runtime.errors import InvalidInput

VERIFY, CLASSIFY = TaskKind.VERIFY, TaskKind.CLASSIFY


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"task_kind": VERIFY, "classes": ("a",)}, "project.classes"),
        ({"task_kind": CLASSIFY}, "project.classes"),
        ({"task_kind": CLASSIFY, "classes": ("a", "a")}, "project.classes"),
        ({"task_kind": VERIFY, "votes_needed": 0}, "project.votes_needed"),
        ({"task_kind": VERIFY, "votes_needed": 100}, "project.votes_needed"),
        (
            {
                "task_kind": VERIFY,
                "consensus_rule": ConsensusRule.DAWID_SKENE,
                "tie_rule": TieRule.ADJUDICATE,
            },
            "project.tie_rule",
        ),
        (
            {
                "task_kind": CLASSIFY,
                "classes": tuple(map(str, range(101))),
                "consensus_rule": ConsensusRule.DAWID_SKENE,
            },
            "project.classes",
        ),
    ],
)
def test_rules_that_contradict_each_other_are_refused(
    values: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Rules(**values)  # type: ignore[arg-type]

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"
    assert caught.value.metadata["field"] == field


def test_classes_may_be_added_and_reordered() -> None:
    rules = Rules(CLASSIFY, ("a", "b"))

    changed = ProjectChange(classes=("c", "b", "a")).applied_to(rules)

    assert changed.classes == ("c", "b", "a")


def test_a_class_cannot_be_taken_away() -> None:
    with pytest.raises(InvalidInput):
        ProjectChange(classes=("a", "c")).applied_to(Rules(CLASSIFY, ("a", "b")))


def test_what_is_asked_cannot_change() -> None:
    with pytest.raises(InvalidInput) as caught:
        Rules(VERIFY).changed_to(Rules(CLASSIFY, ("a",)))

    assert caught.value.metadata["field"] == "project.task_kind"


def test_a_change_keeps_what_it_does_not_name() -> None:
    rules = Rules(VERIFY, votes_needed=3, consensus_rule=ConsensusRule.MAJORITY)

    assert ProjectChange(display_name="new").applied_to(rules) == rules
    assert ProjectChange(votes_needed=5).applied_to(rules).consensus_rule is ConsensusRule.MAJORITY


def test_equal_votes_can_be_changed_alone() -> None:
    rules = Rules(VERIFY, votes_needed=3, consensus_rule=ConsensusRule.N_OF_M, votes_to_agree=3)

    assert ProjectChange(votes_to_agree=2).applied_to(rules).votes_to_agree == 2


def test_equal_votes_are_ignored_where_no_rule_asks_for_them() -> None:
    rules = Rules(VERIFY, votes_needed=3, consensus_rule=ConsensusRule.MAJORITY)

    assert ProjectChange(votes_to_agree=2).applied_to(rules) == rules
