"""A round that was withdrawn is asked of nobody again, whatever becomes of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parfocal_labels.answers import FALSE, TRUE
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.imports import ImportedLabel
from parfocal_labels.records import ProjectChange, QuerySpec, QueryState, Role
from parfocal_runtime.errors import WrongState

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

OPEN, DECIDED, WITHDRAWN = QueryState.OPEN, QueryState.DECIDED, QueryState.WITHDRAWN


def withdraw(lab: Lab, round_: str = "r1") -> int:
    withdrawn: int = lab.run(lab.store.withdraw_queries(lab.project, round_))
    return withdrawn


def change(lab: Lab, **rules: object) -> None:
    lab.run(lab.store.update_project(lab.project, ProjectChange(**rules)))  # type: ignore[arg-type]


def test_a_vote_taken_back_does_not_open_its_query_again(lab: Lab) -> None:
    lab.create().add(3)
    first, _ = lab.vote("ada", 2)
    withdraw(lab)

    lab.retract(first)

    assert list(lab.states().values()) == [WITHDRAWN, DECIDED, WITHDRAWN]
    assert lab.lease("bob", 5) == lab.lease("ada", 5, round_="r1") == []


def test_it_does_not_either_where_all_were_decided(lab: Lab) -> None:
    lab.create().add(2).add(1, round_="r2")
    first, _ = lab.submit("ada", lab.lease("ada", 2, round_="r1"))
    withdrawn = withdraw(lab)

    lab.retract(first)

    assert withdrawn == 0
    assert lab.lease("bob", 5) == [3]
    assert lab.run(lab.store.progress(lab.project, round_="r1")).queries == 1


def test_a_revision_that_leaves_a_query_undecided_does_not_open_it(lab: Lab) -> None:
    lab.create(votes=3, rule=ConsensusRule.N_OF_M, votes_to_agree=2).add(1)
    [first] = lab.vote("ada", 1, TRUE)
    lab.vote("bob", 1, TRUE)
    withdraw(lab)

    second = lab.revise(first.sequence, FALSE)
    between = lab.states(), lab.lease("eve", 1)
    lab.revise(second.sequence, TRUE)

    assert between == ({1: WITHDRAWN}, [])
    assert lab.states() == {1: DECIDED}


def test_a_decision_taken_back_does_not_open_its_query_again(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    decision = lab.adjudicate(1, TRUE)
    withdraw(lab)

    lab.retract(decision)

    assert lab.states() == {1: WITHDRAWN}
    assert lab.lease("ada", 1) == []


def test_a_vote_taken_back_from_a_decision_leaves_it(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1)
    lab.adjudicate(1, FALSE)
    withdraw(lab)

    lab.retract(label)

    assert lab.states() == {1: DECIDED}


@pytest.mark.parametrize("tie", [TieRule.UNSURE, TieRule.ADJUDICATE])
def test_more_votes_needed_open_nothing_of_it_and_lose_nothing(lab: Lab, tie: TieRule) -> None:
    lab.create(votes=2, tie_rule=tie).add(1).add(1, round_="r2")
    for name in ("ada", "bob"):
        lab.vote(name, 2)
    withdraw(lab)

    change(lab, votes_needed=3)
    states, handed = lab.states(), lab.lease("eve", 5)
    change(lab, votes_needed=2)

    assert states == {1: WITHDRAWN, 2: OPEN}
    assert handed == [2]
    assert lab.states() == {1: DECIDED, 2: DECIDED}


def test_a_tie_in_it_waits_for_nobody(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    lab.vote("ada", 1, TRUE)
    lab.vote("bob", 1, FALSE)
    withdraw(lab)

    change(lab, tie_rule=TieRule.ADJUDICATE)

    assert lab.states() == {1: WITHDRAWN}


def test_it_is_not_asked_once_more_of_those_who_answered(lab: Lab) -> None:
    lab.create(repeat_share=0.5).add(4)
    lab.vote("ada", 4)
    withdraw(lab)
    lab.add(8, round_="r2")

    assert lab.lease("ada", 8) == list(range(5, 13))


def test_who_still_holds_one_of_its_decided_queries_cannot_answer_it(lab: Lab) -> None:
    lab.create(votes=3, rule=ConsensusRule.N_OF_M, votes_to_agree=2).add(1)
    held = lab.lease("ada", 1)
    [label, _] = [*lab.vote("bob", 1), *lab.vote("eve", 1)]
    withdraw(lab)
    lab.retract(label)

    with pytest.raises(WrongState):
        lab.submit("ada", held)

    assert lab.states() == {1: WITHDRAWN}
    assert lab.run(lab.store.progress(lab.project)).leased == 0


def test_what_is_added_to_it_later_is_withdrawn_too(lab: Lab) -> None:
    lab.create(gold_share=0.5).add(1).add(1, round_="r2")
    withdraw(lab)
    gold = QuerySpec("r1", "gold", 0, rank=0, role=Role.GOLD, gold=TRUE)

    lab.add(3)
    lab.run(lab.store.add_queries(lab.project, [gold], caller="loop"))

    assert lab.lease("ada", 5) == [2]
    assert [state for query, state in lab.states().items() if query != 2] == [WITHDRAWN] * 4


def test_labels_from_elsewhere_do_not_open_it(lab: Lab) -> None:
    lab.create(votes=2)
    withdraw(lab)
    label = ImportedLabel(QuerySpec("r1", "set", 0, rank=0), TRUE, "csv:a.csv")

    with pytest.raises(WrongState) as caught:
        lab.run(
            lab.store.exchange.import_labels(lab.project, [label], caller="cur", request_id="a")
        )

    assert caught.value.reason == "ERROR_REASON_QUERY_WITHDRAWN"
    assert lab.states() == {}


def test_a_round_of_that_name_in_another_project_goes_on(lab: Lab) -> None:
    lab.create().add(1)
    withdraw(lab)
    lab.create(project="other").add(1)
    [label] = lab.vote("ada", 1)

    lab.retract(label)

    assert len(lab.lease("bob", 1)) == 1


def test_withdrawing_it_again_changes_nothing(lab: Lab) -> None:
    lab.create().add(2)

    assert (withdraw(lab), withdraw(lab)) == (2, 0)
