"""Answers that are counted are those of the consensus."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.disclosure import Reader
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import Progress, ProjectChange, QuerySpec, Role
from parfocal_runtime.errors import PermissionDenied

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)
VERDICTS = (TRUE, FALSE, UNSURE)
CLASSES = (Answer(class_name="glia"), Answer(class_name="true"), UNSURE)


def counted(lab: Lab, *, round_: str = "") -> dict[tuple[Role, Answer], int]:
    progress: Progress = lab.run(lab.store.progress(lab.project, round_=round_, count_answers=True))
    assert sum(progress.answers.values()) == progress.decided
    return dict(progress.answers)


def listed(lab: Lab, *, round_: str = "") -> dict[tuple[Role, Answer], int]:
    page = lab.run(lab.store.list_consensus(lab.project, ALL, round_=round_, decided_only=True))
    return dict(Counter((item.query.spec.role, item.consensus.answer) for item in page.items))


def ask(lab: Lab, count: int, *, round_: str = "r1") -> None:
    specs = [
        QuerySpec(round_, "set", n, rank=n, role=Role.STRATEGY if n % 3 else Role.RANDOM)
        for n in range(count)
    ]
    lab.run(lab.store.add_queries(lab.project, specs, caller="loop"))


def answer_all(lab: Lab, annotators: str, choices: tuple[Answer, ...], luck: random.Random) -> None:
    """Let everybody answer, and then think again about some of it."""
    for name in annotators:
        for query in lab.lease(name, 100):
            [label] = lab.submit(name, [query], luck.choice(choices))
            if luck.random() < 0.2:
                lab.revise(label.sequence, luck.choice(choices), caller=name)
            elif luck.random() < 0.1:
                lab.retract(label)
    for query in list(lab.states())[::7]:
        lab.adjudicate(query, luck.choice(choices))


@pytest.mark.parametrize(
    "rules",
    [
        {"votes": 1},
        {"votes": 2, "rule": ConsensusRule.FIRST_VOTE},
        {"votes": 3},
        {"votes": 2, "tie_rule": TieRule.EARLIEST},
        {"votes": 2, "tie_rule": TieRule.ADJUDICATE},
        {"votes": 3, "rule": ConsensusRule.N_OF_M, "votes_to_agree": 2},
        {"votes": 3, "rule": ConsensusRule.DAWID_SKENE},
    ],
    ids=["one", "first", "majority", "earliest", "adjudicate", "n-of-m", "dawid-skene"],
)
@pytest.mark.parametrize("classes", [(), ("glia", "true")], ids=["verify", "classify"])
def test_answers_are_counted_as_they_are_decided(
    lab: Lab, rules: dict[str, Any], classes: tuple[str, ...]
) -> None:
    lab.create(classes=classes, **rules)
    ask(lab, 40)
    ask(lab, 10, round_="r2")

    answer_all(lab, "abcd", CLASSES if classes else VERDICTS, random.Random(5))

    assert counted(lab) == listed(lab) != {}
    assert counted(lab, round_="r2") == listed(lab, round_="r2") != {}
    assert counted(lab, round_="r3") == {}


def test_gold_and_repeats_are_not_counted(lab: Lab) -> None:
    lab.create(gold_share=0.25, repeat_share=0.25)
    ask(lab, 12)
    gold = [QuerySpec("r1", "gold", n, rank=n, role=Role.GOLD, gold=TRUE) for n in range(4)]
    lab.run(lab.store.add_queries(lab.project, gold, caller="loop"))

    for answer in (TRUE, FALSE):
        lab.vote("ada", 8, answer)

    assert counted(lab) == listed(lab)


def test_answers_of_a_blind_project_are_counted_for_curators(lab: Lab) -> None:
    lab.create().add(1)
    lab.vote("ada", 1)
    lab.run(lab.store.update_project(lab.project, ProjectChange(blind=True)))
    ada = Reader("ada", sees_all=False)

    with pytest.raises(PermissionDenied) as caught:
        lab.run(lab.store.progress(lab.project, count_answers=True, reader=ada))

    assert caught.value.reason == "ERROR_REASON_PROJECT_BLIND"
    assert lab.run(lab.store.progress(lab.project, reader=ada)).decided == 1
    assert counted(lab) == {(Role.STRATEGY, TRUE): 1}
