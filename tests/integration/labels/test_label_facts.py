from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import ConsensusRule
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import EventKind, Label, LabelEvent, QueryState, Vote
from parfocal_runtime.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    PermissionDenied,
    WrongState,
)

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)


def listed(lab: Lab, *, round_: str = "") -> list[Label]:
    return list(lab.run(lab.store.list_labels(lab.project, ALL, round_=round_)).items)


def test_a_label_says_who_what_when_and_how_long(lab: Lab) -> None:
    lab.create().add(1)

    [label] = lab.vote("ada", 1, FALSE)

    assert (label.sequence, label.annotator, label.answer) == (1, "ada", FALSE)
    assert (label.seconds, label.client, label.retracted) == (1.5, "test/1", False)
    assert label.create_time == lab.clock.now
    assert listed(lab) == [label]


def test_labels_come_back_in_the_order_of_the_answers(lab: Lab) -> None:
    lab.create().add(4)
    ids = lab.lease("ada", 4)[::-1]

    labels = lab.submit("ada", ids)

    assert [label.query.id for label in labels] == ids
    assert [label.sequence for label in labels] == [1, 2, 3, 4]


def test_the_vote_that_was_missing_decides_the_query(lab: Lab) -> None:
    lab.create(votes=2).add(1)

    states = [lab.vote(name, 1)[0].query.state for name in ("ada", "bob")]

    assert states == [QueryState.OPEN, QueryState.DECIDED]


def test_the_same_submission_again_gives_the_same_labels(lab: Lab) -> None:
    lab.create().add(2)
    ids = lab.lease("ada", 2)

    first = lab.submit("ada", ids, request_id="a")
    again = lab.submit("ada", ids, request_id="a")

    assert again == first
    assert len(listed(lab)) == 2


@pytest.mark.parametrize("change", ["answer", "seconds", "queries"])
def test_a_request_id_with_other_answers_is_refused(lab: Lab, change: str) -> None:
    lab.create().add(3)
    ids = lab.lease("ada", 3)
    lab.submit("ada", ids[:2], request_id="a")

    with pytest.raises(AlreadyExists) as caught:
        lab.submit(
            "ada",
            ids if change == "queries" else ids[:2],
            FALSE if change == "answer" else TRUE,
            seconds=9 if change == "seconds" else 1.5,
            request_id="a",
        )

    assert caught.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"
    assert len(listed(lab)) == 2


def test_only_who_holds_a_query_can_answer_it(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    held = lab.lease("ada", 1)

    with pytest.raises(WrongState) as caught:
        lab.submit("bob", held)

    assert caught.value.reason == "ERROR_REASON_QUERY_NOT_LEASED"
    assert caught.value.metadata == {"query": f"projects/vnc/queries/{held[0]}"}


def test_a_lease_that_ended_is_none(lab: Lab) -> None:
    lab.create().add(1)
    held = lab.lease("ada", 1, seconds=10)
    lab.clock.advance(10)

    with pytest.raises(WrongState) as caught:
        lab.submit("ada", held)

    assert caught.value.reason == "ERROR_REASON_QUERY_NOT_LEASED"


def test_a_decided_query_takes_no_more_answers(lab: Lab) -> None:
    lab.create().add(1)
    held = lab.lease("ada", 1)
    lab.submit("ada", held)

    for name in ("ada", "bob"):
        with pytest.raises(WrongState) as caught:
            lab.submit(name, held, request_id="another")
        assert caught.value.reason == "ERROR_REASON_QUERY_ALREADY_DECIDED"


def test_an_unknown_query_is_not_found(lab: Lab) -> None:
    lab.create()

    with pytest.raises(NotFound) as caught:
        lab.submit("ada", [2**62])

    assert caught.value.reason == "ERROR_REASON_QUERY_NOT_FOUND"


def test_a_query_of_another_project_is_not_found(lab: Lab) -> None:
    held = lab.create(project="other").add(1).lease("ada", 1)
    lab.create(project="vnc")

    with pytest.raises(NotFound):
        lab.submit("ada", held)


def test_a_submission_counts_as_a_whole_or_not_at_all(lab: Lab) -> None:
    lab.create().add(3)
    [one, two] = lab.lease("ada", 2)
    [other] = lab.lease("bob", 1)

    with pytest.raises(WrongState):
        lab.submit("ada", [one, other, two], request_id="a")

    assert listed(lab) == []
    assert len(lab.submit("ada", [one, two], request_id="a")) == 2


@pytest.mark.parametrize(
    ("classes", "answer", "reason"),
    [
        ((), Answer(), "ERROR_REASON_INVALID_FIELD"),
        ((), Answer(class_name="axon"), "ERROR_REASON_INVALID_FIELD"),
        (("axon", "glia"), TRUE, "ERROR_REASON_INVALID_FIELD"),
        (("axon", "glia"), Answer(class_name="soma"), "ERROR_REASON_UNKNOWN_CLASS"),
    ],
)
def test_an_answer_that_the_project_does_not_ask_for_is_refused(
    lab: Lab, classes: tuple[str, ...], answer: Answer, reason: str
) -> None:
    lab.create(classes=classes).add(1)

    with pytest.raises(InvalidInput) as caught:
        lab.vote("ada", 1, answer)

    assert caught.value.reason == reason


def test_a_class_is_an_answer(lab: Lab) -> None:
    lab.create(classes=("axon", "glia")).add(2)

    lab.vote("ada", 1, Answer(class_name="glia"))
    lab.vote("ada", 1, UNSURE)

    assert [label.answer for label in listed(lab)] == [Answer(class_name="glia"), UNSURE]


def test_a_retraction_is_a_new_fact_and_opens_the_query_again(lab: Lab) -> None:
    lab.create().add(1)
    [label] = lab.vote("ada", 1)

    lab.clock.advance(5)
    retracted = lab.run(lab.store.retract_label("vnc", 1, caller="ada"))

    assert retracted.retracted
    assert retracted.query.state is QueryState.OPEN
    assert [event.kind for event in lab.events()] == [EventKind.SUBMITTED, EventKind.RETRACTED]
    assert lab.lease("bob", 1) == [label.query.id]


def test_who_took_a_label_back_can_answer_again(lab: Lab) -> None:
    lab.create().add(1)
    lab.vote("ada", 1, TRUE)
    lab.run(lab.store.retract_label("vnc", 1, caller="ada"))

    [label] = lab.vote("ada", 1, FALSE)

    assert label.sequence == 3
    assert [each.retracted for each in listed(lab)] == [True, False]


def test_a_second_retraction_changes_nothing(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    lab.vote("ada", 1)

    for _ in range(2):
        lab.run(lab.store.retract_label("vnc", 1, caller="ada"))

    assert len(lab.events()) == 2


def test_only_a_curator_takes_back_what_others_said(lab: Lab) -> None:
    lab.create().add(1)
    lab.vote("ada", 1)

    with pytest.raises(PermissionDenied) as caught:
        lab.run(lab.store.retract_label("vnc", 1, caller="bob"))
    by_curator = lab.run(lab.store.retract_label("vnc", 1, caller="cur", of_anybody=True))

    assert caught.value.reason == "ERROR_REASON_LABEL_NOT_YOURS"
    assert (by_curator.retracted, by_curator.annotator) == (True, "ada")


@pytest.mark.parametrize("sequence", [0, 2, 3, 2**62])
def test_what_is_no_label_cannot_be_retracted(lab: Lab, sequence: int) -> None:
    lab.create().add(1)
    lab.vote("ada", 1)
    lab.run(lab.store.retract_label("vnc", 1, caller="ada"))

    with pytest.raises(NotFound) as caught:
        lab.run(lab.store.retract_label("vnc", sequence, caller="ada"))

    assert caught.value.reason == "ERROR_REASON_LABEL_NOT_FOUND"


def test_labels_are_listed_in_pages_and_by_round(lab: Lab) -> None:
    lab.create().add(3, round_="a").add(2, round_="b")
    lab.vote("ada", 5)

    first = lab.run(lab.store.list_labels("vnc", PageRequest(2)))
    second = lab.run(lab.store.list_labels("vnc", PageRequest(3, first.next_key)))

    assert [label.sequence for label in first.items + second.items] == [1, 2, 3, 4, 5]
    assert second.next_key == ()
    assert {label.query.spec.round for label in listed(lab, round_="b")} == {"b"}


def test_sequences_belong_to_their_project(lab: Lab) -> None:
    for project in ("one", "two"):
        lab.create(project=project).add(2).vote("ada", 2)

    assert [event.sequence for event in lab.events()] == [1, 2]


def test_an_event_shows_the_label_as_it_was_acknowledged(lab: Lab) -> None:
    lab.create().add(1).vote("ada", 1)
    lab.run(lab.store.retract_label("vnc", 1, caller="ada"))

    submitted, retracted = lab.events()

    assert not submitted.label.retracted
    assert retracted.label.retracted
    assert submitted.label.sequence == retracted.label.sequence == 1


def test_a_watcher_gets_what_is_there_and_then_what_comes(lab: Lab) -> None:
    lab.create().add(1200)
    lab.vote("ada", 1000)

    async def watch() -> list[int]:
        stream = lab.store.watch_labels("vnc", after=2)
        return [(await anext(stream)).sequence for _ in range(1198)]

    async def both() -> list[int]:
        watching = asyncio.create_task(watch())
        for number in range(4):
            leases = await lab.store.lease_queries("vnc", "bob", count=50, ttl=lab.clock.minute)
            votes = [Vote(lease.query.id, TRUE) for lease in leases]
            await lab.store.submit_labels("vnc", "bob", votes, request_id=str(number))
        return await watching

    assert lab.run(both()) == list(range(3, 1201))


def test_a_watch_from_an_event_that_there_is_not_is_refused(lab: Lab) -> None:
    lab.create().add(2)
    lab.vote("ada", 2)

    with pytest.raises(InvalidInput) as caught:
        lab.events(after=3)

    assert caught.value.metadata["field"] == "after_sequence"
    assert lab.events(after=2) == []


def test_a_watcher_sees_what_another_process_wrote(lab: Lab) -> None:
    lab.create().add(1)
    other = type(lab.store)(lab.database, lab.objects, clock=lab.clock)

    async def both() -> LabelEvent:
        stream = lab.store.watch_labels("vnc")
        watching = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        [lease] = await other.lease_queries("vnc", "ada", count=1, ttl=lab.clock.minute)
        await other.submit_labels("vnc", "ada", [Vote(lease.query.id, TRUE)], request_id="a")
        return await watching

    assert lab.run(both()).sequence == 1


def consensus(lab: Lab) -> list[tuple[bool, Answer | None, int, int]]:
    page = lab.run(lab.store.list_consensus(lab.project, ALL))
    return [
        (
            each.consensus.decided,
            each.consensus.answer,
            each.consensus.votes,
            each.consensus.agreeing,
        )
        for each in page.items
    ]


def test_consensus_follows_the_votes_that_stand(lab: Lab) -> None:
    lab.create(votes=3).add(1)

    seen = []
    for name, answer in [("ada", TRUE), ("bob", FALSE), ("cyd", FALSE)]:
        lab.vote(name, 1, answer)
        seen += consensus(lab)
    lab.run(lab.store.retract_label("vnc", 3, caller="cyd"))
    lab.vote("dan", 1, UNSURE)

    assert seen == [(False, None, 1, 0), (False, None, 2, 0), (True, FALSE, 3, 2)]
    assert consensus(lab) == [(True, UNSURE, 3, 1)]


def test_the_first_vote_that_stands_decides_where_it_is_the_rule(lab: Lab) -> None:
    lab.create(votes=3, rule=ConsensusRule.FIRST_VOTE).add(1)
    for name, answer in [("ada", TRUE), ("bob", FALSE), ("cyd", FALSE)]:
        lab.vote(name, 1, answer)

    assert consensus(lab) == [(True, TRUE, 3, 1)]


def test_consensus_is_listed_in_pages_and_only_where_decided_if_wanted(lab: Lab) -> None:
    lab.create().add(5)
    lab.vote("ada", 3)

    first = lab.run(lab.store.list_consensus("vnc", PageRequest(2), decided_only=True))
    second = lab.run(
        lab.store.list_consensus("vnc", PageRequest(2, first.next_key), decided_only=True)
    )

    ranks = [item.query.spec.rank for item in first.items + second.items]
    assert ranks == [0, 1, 2]
    assert second.next_key == ()


def test_agreement_counts_queries_with_several_votes(lab: Lab) -> None:
    lab.create(votes=2).add(3)
    lab.vote("ada", 3, TRUE)
    ids = lab.lease("bob", 2)
    lab.submit("bob", ids[:1], TRUE)
    lab.submit("bob", ids[1:], FALSE)

    figures = lab.run(lab.store.agreement("vnc"))

    assert (figures.queries, figures.pairwise) == (2, 0.5)
    assert figures.fleiss_kappa == pytest.approx((0.5 - 0.625) / 0.375)


def test_agreement_without_a_pair_of_votes_is_undefined(lab: Lab) -> None:
    lab.create().add(2).vote("ada", 2)

    figures = lab.run(lab.store.agreement("vnc"))

    assert math.isnan(figures.pairwise)
    assert math.isnan(figures.fleiss_kappa)
    assert figures.undefined_reason == "no query has two votes"


def test_progress_counts_queries_leases_and_labels(lab: Lab) -> None:
    lab.create().add(6, round_="a").add(3, round_="b")
    for seconds, count in ((1.0, 1), (4.0, 2), (0.0, 1)):
        lab.submit("ada", lab.lease("ada", count, round_="a"), seconds=seconds)
    lab.lease("bob", 2, seconds=5, round_="a")
    lab.run(lab.store.withdraw_queries("vnc", "b"))
    lab.run(lab.store.retract_label("vnc", 4, caller="ada"))

    now = lab.run(lab.store.progress("vnc"))
    lab.clock.advance(5)
    later = lab.run(lab.store.progress("vnc", round_="a"))

    assert (now.queries, now.decided, now.leased, now.labels) == (6, 3, 2, 3)
    assert (now.last_sequence, now.median_seconds) == (5, 4.0)
    assert later.leased == 0
    assert math.isnan(lab.run(lab.store.progress("vnc", round_="b")).median_seconds)


def test_the_median_of_two_is_between_them(lab: Lab) -> None:
    lab.create().add(2)
    for seconds in (1.0, 2.0):
        lab.submit("ada", lab.lease("ada", 1), seconds=seconds)

    assert lab.run(lab.store.progress("vnc")).median_seconds == 1.5
