from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import Consensus, ConsensusRule, TieRule
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import (
    EventKind,
    Label,
    ProjectChange,
    Purpose,
    QuerySpec,
    QueryState,
    Role,
    Vote,
)
from parfocal_runtime.errors import (
    AlreadyExists,
    DomainError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    WrongState,
)

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)
OPEN, HELD, DECIDED = QueryState.OPEN, QueryState.HELD, QueryState.DECIDED
DISPUTED, WITHDRAWN = QueryState.DISPUTED, QueryState.WITHDRAWN


def listed(lab: Lab) -> tuple[Label, ...]:
    labels: tuple[Label, ...] = lab.run(lab.store.list_labels(lab.project, ALL)).items
    return labels


def of_m(lab: Lab, n: int, m: int, *, tie: TieRule = TieRule.UNSURE) -> Lab:
    return lab.create(votes=m, rule=ConsensusRule.N_OF_M, votes_to_agree=n, tie_rule=tie)


def disputed(lab: Lab) -> int:
    """Return a query whose two votes tie, for a curator to decide."""
    lab.create(votes=2, tie_rule=TieRule.ADJUDICATE).add(1)
    lab.vote("ada", 1, TRUE)
    lab.vote("bob", 1, FALSE)
    [query] = lab.states()
    return query


def test_n_equal_votes_decide_at_once(lab: Lab) -> None:
    of_m(lab, 2, 3).add(1)
    [query] = lab.lease("ada", 1)
    for name in ("bob", "eve"):
        lab.vote(name, 1, TRUE)

    with pytest.raises(WrongState) as caught:
        lab.submit("ada", [query])

    assert caught.value.reason == "ERROR_REASON_QUERY_ALREADY_DECIDED"
    assert lab.states() == {query: DECIDED}
    assert lab.consensus() == {query: Consensus(True, TRUE, votes=2, agreeing=2)}


def test_leases_given_back_do_not_open_what_n_equal_votes_decided(lab: Lab) -> None:
    of_m(lab, 2, 4).add(1)
    released, expired = lab.lease("ada", 1), lab.lease("dan", 1)
    for name in ("bob", "eve"):
        lab.vote(name, 1, TRUE)

    lab.run(lab.store.release_queries(lab.project, "ada", released))
    lab.clock.advance(3600)
    handed = lab.lease("fay", 1)

    assert handed == []
    assert lab.states() == {expired[0]: DECIDED}


def test_a_tie_waits_for_a_curator(lab: Lab) -> None:
    query = disputed(lab)

    assert lab.states() == {query: DISPUTED}
    assert lab.lease("eve", 1) == []
    assert lab.consensus() == {query: Consensus(False, None, votes=2, agreeing=1, disputed=True)}


def test_a_curator_decides_a_dispute(lab: Lab) -> None:
    query = disputed(lab)

    label = lab.adjudicate(query, FALSE)

    assert (label.purpose, label.annotator, label.answer) == (Purpose.ADJUDICATION, "cur", FALSE)
    assert lab.states() == {query: DECIDED}
    assert lab.consensus() == {query: Consensus(True, FALSE, votes=2, agreeing=1, adjudicated=True)}


def test_a_dispute_is_back_once_the_decision_is_taken_back(lab: Lab) -> None:
    query = disputed(lab)
    label = lab.adjudicate(query, FALSE)

    lab.retract(label)

    assert lab.states() == {query: DISPUTED}
    assert not lab.consensus()[query].adjudicated


def test_the_last_of_several_decisions_counts(lab: Lab) -> None:
    query = disputed(lab)
    lab.adjudicate(query, TRUE)
    last = lab.adjudicate(query, FALSE)

    decided = lab.consensus()[query].answer
    lab.retract(last)

    assert decided == FALSE
    assert lab.consensus()[query].answer == TRUE
    assert lab.states() == {query: DECIDED}


@pytest.mark.parametrize("rule", [ConsensusRule.FIRST_VOTE, ConsensusRule.MAJORITY])
def test_what_a_curator_decided_stays_so_without_its_votes(lab: Lab, rule: ConsensusRule) -> None:
    lab.create(votes=2, rule=rule).add(1)
    votes = [*lab.vote("ada", 1, TRUE), *lab.vote("bob", 1, TRUE)]
    [query] = lab.states()
    lab.adjudicate(query, FALSE)

    for vote in votes:
        lab.retract(vote)

    assert lab.states() == {query: DECIDED}
    assert lab.consensus() == {query: Consensus(True, FALSE, votes=0, agreeing=0, adjudicated=True)}
    assert lab.lease("eve", 1) == []


def test_a_curator_can_decide_before_anybody_votes(lab: Lab) -> None:
    lab.create(votes=3).add(1)
    [query] = lab.lease("ada", 1)

    lab.adjudicate(query, FALSE)

    with pytest.raises(WrongState) as caught:
        lab.submit("ada", [query])
    lab.run(lab.store.release_queries(lab.project, "ada", [query]))
    lab.clock.advance(3600)
    assert caught.value.reason == "ERROR_REASON_QUERY_ALREADY_DECIDED"
    assert lab.lease("bob", 1) == []
    assert lab.states() == {query: DECIDED}


def test_taking_back_a_decision_opens_a_query_without_votes(lab: Lab) -> None:
    lab.create(votes=3).add(1)
    [query] = lab.states()
    label = lab.adjudicate(query, FALSE)

    lab.retract(label)

    assert lab.states() == {query: OPEN}
    assert lab.lease("bob", 1) == [query]


def test_a_decision_is_not_a_vote(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    [query] = lab.states()
    lab.adjudicate(query, TRUE)

    progress = lab.run(lab.store.progress(lab.project))

    assert (progress.decided, progress.labels) == (1, 0)
    assert lab.consensus()[query].votes == 0


def test_the_same_decision_again_is_the_same_label(lab: Lab) -> None:
    query = disputed(lab)
    first = lab.adjudicate(query, TRUE, request_id="a")

    again = lab.adjudicate(query, TRUE, request_id="a")
    with pytest.raises(AlreadyExists) as caught:
        lab.adjudicate(query, FALSE, request_id="a")

    assert again == first
    assert caught.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"
    assert len(listed(lab)) == 3


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("gold", WrongState, "ERROR_REASON_QUERY_ROLE_UNFIT"),
        ("withdrawn", WrongState, "ERROR_REASON_QUERY_WITHDRAWN"),
        ("unknown", NotFound, "ERROR_REASON_QUERY_NOT_FOUND"),
        ("misfit", InvalidInput, "ERROR_REASON_INVALID_FIELD"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    lab: Lab, kind: str, error: type[DomainError], reason: str
) -> None:
    lab.create().add(1, round_="r2")
    gold = QuerySpec("r1", "set", 7, rank=0, role=Role.GOLD, gold=TRUE)
    lab.run(lab.store.add_queries(lab.project, [gold], caller="cur"))
    lab.run(lab.store.withdraw_queries(lab.project, "r2"))
    by_state = {state: query for query, state in lab.states().items()}
    query = {"withdrawn": by_state[WITHDRAWN], "unknown": 99}.get(kind, by_state[QueryState.GOLD])

    with pytest.raises(error) as caught:
        lab.adjudicate(query, Answer(class_name="glia") if kind == "misfit" else TRUE)

    assert caught.value.reason == reason
    assert listed(lab) == ()


def test_a_revision_takes_the_place_of_a_label(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1, TRUE)

    new = lab.revise(label.sequence, FALSE)

    old, kept = listed(lab)
    assert (old.sequence, old.answer, old.retracted) == (label.sequence, TRUE, True)
    assert (kept.answer, kept.retracted, kept.revises) == (FALSE, False, label.sequence)
    assert kept == new
    assert (new.annotator, new.seconds, new.tags) == ("ada", 2.5, ("again",))
    assert lab.consensus()[new.query.id] == Consensus(True, FALSE, votes=1, agreeing=1)
    assert [event.kind for event in lab.events()] == [EventKind.SUBMITTED, EventKind.REVISED]


def test_a_revision_can_be_revised_and_taken_back(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1, TRUE)
    second = lab.revise(label.sequence, FALSE)
    third = lab.revise(second.sequence, UNSURE)

    answer = lab.consensus()[label.query.id].answer
    lab.retract(third)

    assert answer == UNSURE
    assert lab.states() == {label.query.id: OPEN}
    assert lab.consensus()[label.query.id].votes == 0


@pytest.mark.parametrize(
    "rules",
    [{"rule": ConsensusRule.FIRST_VOTE}, {"tie_rule": TieRule.EARLIEST}],
    ids=["first vote", "earliest"],
)
def test_a_revision_has_the_place_of_the_vote_that_it_replaces(
    lab: Lab, rules: dict[str, Any]
) -> None:
    lab.create(votes=2, **rules).add(1)
    [first] = lab.vote("ada", 1, TRUE)
    lab.vote("bob", 1, FALSE)

    second = lab.revise(first.sequence, TRUE)
    same = lab.consensus()[1].answer
    third = lab.revise(second.sequence, UNSURE)
    other = lab.consensus()[1].answer
    lab.retract(third)
    lab.vote("ada", 1, TRUE)

    assert (same, other) == (TRUE, UNSURE)
    assert lab.consensus()[1].answer == FALSE


def test_a_revision_can_open_a_query_again(lab: Lab) -> None:
    of_m(lab, 2, 3).add(1)
    [first] = lab.vote("ada", 1, TRUE)
    lab.vote("bob", 1, TRUE)

    lab.revise(first.sequence, FALSE)

    assert lab.states() == {first.query.id: OPEN}
    assert lab.lease("eve", 1) == [first.query.id]


def test_a_revision_can_settle_a_dispute(lab: Lab) -> None:
    query = disputed(lab)

    lab.revise(listed(lab)[0].sequence, FALSE)

    assert lab.states() == {query: DECIDED}
    assert lab.consensus()[query] == Consensus(True, FALSE, votes=2, agreeing=2)


def test_only_ones_own_label_can_be_revised_and_only_once(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1, TRUE)

    with pytest.raises(PermissionDenied) as foreign:
        lab.revise(label.sequence, FALSE, caller="bob")
    lab.revise(label.sequence, FALSE)
    with pytest.raises(WrongState) as twice:
        lab.revise(label.sequence, UNSURE)

    assert foreign.value.reason == "ERROR_REASON_LABEL_NOT_YOURS"
    assert twice.value.reason == "ERROR_REASON_LABEL_RETRACTED"
    assert len(lab.events()) == 2


def test_the_same_revision_again_is_the_same_label(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1, TRUE)
    first = lab.revise(label.sequence, FALSE, request_id="a")

    again = lab.revise(label.sequence, FALSE, request_id="a")
    with pytest.raises(AlreadyExists) as caught:
        lab.revise(label.sequence, UNSURE, request_id="a")

    assert again == first
    assert caught.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"
    assert len(lab.events()) == 2


def test_of_revisions_at_once_one_takes_the_place(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1, TRUE)

    async def revise(number: int) -> Label:
        return await lab.store.reviews.revise_label(
            lab.project,
            label.sequence,
            Vote(0, FALSE),
            caller="ada",
            request_id=f"revision-{number}",
        )

    async def all_at_once() -> list[Label | BaseException]:
        return await asyncio.gather(*map(revise, range(8)), return_exceptions=True)

    outcomes = lab.run(all_at_once())

    refused = [each for each in outcomes if isinstance(each, WrongState)]
    assert len(refused) == 7
    assert {each.reason for each in refused} == {"ERROR_REASON_LABEL_RETRACTED"}
    assert len(lab.events()) == 2


def test_a_decision_among_votes_at_once_is_never_undone(lab: Lab) -> None:
    lab.create(votes=5).add(10)
    ids = list(lab.states())
    names = ["ada", "bob", "cyd", "dan"]
    for name in names:
        lab.lease(name, 10)

    async def vote(name: str, query: int) -> object:
        return await lab.store.submit_labels(
            lab.project, name, [Vote(query, TRUE)], request_id=f"vote-{query}"
        )

    async def decide(query: int) -> object:
        return await lab.store.reviews.adjudicate_query(
            lab.project, Vote(query, FALSE), curator="cur", request_id=f"decide-{query}"
        )

    async def release(name: str) -> object:
        return await lab.store.release_queries(lab.project, name, ids)

    async def all_at_once() -> list[object]:
        calls = [vote(name, query) for query in ids for name in names[:3]]
        calls += [decide(query) for query in ids]
        calls += [release(names[3])]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = lab.run(all_at_once())

    failures = {each.reason for each in outcomes if isinstance(each, DomainError)}
    assert all(isinstance(each, Label | list | int | DomainError) for each in outcomes)
    assert failures <= {"ERROR_REASON_QUERY_ALREADY_DECIDED"}
    assert set(lab.states().values()) == {DECIDED}
    assert all(each.answer == FALSE for each in lab.consensus().values())
    votes = sum(each.votes for each in lab.consensus().values())
    assert votes == sum(label.purpose is Purpose.VOTE for label in listed(lab))
    assert lab.run(lab.store.progress(lab.project)).leased == 0


def test_whoever_revised_cannot_be_asked_the_same_again(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    [label] = lab.vote("ada", 1, TRUE)

    lab.revise(label.sequence, FALSE)

    assert lab.lease("ada", 1) == []


@pytest.mark.parametrize(
    ("change", "states"),
    [
        # Three queries with the votes TF, TTF and TTT.
        (ProjectChange(votes_needed=2), [DECIDED] * 3),
        (ProjectChange(votes_needed=4), [OPEN] * 3),
        (ProjectChange(tie_rule=TieRule.ADJUDICATE, votes_needed=2), [DISPUTED, DECIDED, DECIDED]),
        (
            ProjectChange(consensus_rule=ConsensusRule.N_OF_M, votes_to_agree=2),
            [OPEN, DECIDED, DECIDED],
        ),
        (
            ProjectChange(
                consensus_rule=ConsensusRule.N_OF_M,
                votes_to_agree=3,
                tie_rule=TieRule.ADJUDICATE,
            ),
            [OPEN, DISPUTED, DECIDED],
        ),
        (
            ProjectChange(consensus_rule=ConsensusRule.DAWID_SKENE, votes_needed=2),
            [DECIDED] * 3,
        ),
    ],
)
def test_queries_follow_changed_rules(
    lab: Lab, change: ProjectChange, states: list[QueryState]
) -> None:
    lab.create(votes=3).add(3)
    first, second, third = lab.states()
    for name, votes in (
        ("ada", {first: TRUE, second: TRUE, third: TRUE}),
        ("bob", {first: FALSE, second: TRUE, third: TRUE}),
        ("eve", {second: FALSE, third: TRUE}),
    ):
        held = lab.lease(name, 3)
        for query, answer in votes.items():
            lab.submit(name, [query], answer)
        lab.run(lab.store.release_queries(lab.project, name, held))

    lab.run(lab.store.update_project(lab.project, change))
    settled = list(lab.states().values())
    lab.run(
        lab.store.update_project(
            lab.project,
            ProjectChange(
                votes_needed=3, tie_rule=TieRule.UNSURE, consensus_rule=ConsensusRule.MAJORITY
            ),
        )
    )

    assert settled == states
    assert list(lab.states().values()) == [OPEN, DECIDED, DECIDED]


def test_changed_rules_leave_a_curators_decision(lab: Lab) -> None:
    query = disputed(lab)
    lab.adjudicate(query, TRUE)

    lab.run(lab.store.update_project(lab.project, ProjectChange(votes_needed=5)))

    assert lab.states() == {query: DECIDED}
