"""What the queue hands out beside the next queries, and to whom it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from parfocal_labels.annotators import AnnotatorChange
from parfocal_labels.answers import FALSE, TRUE, TaskKind
from parfocal_labels.consensus import ConsensusRule
from parfocal_labels.disclosure import SEES_ALL, Reader
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import (
    Lease,
    ProjectChange,
    Purpose,
    Query,
    QuerySpec,
    QueryState,
    Role,
    Rules,
    Skip,
    Vote,
)
from parfocal_runtime.errors import AlreadyExists, PermissionDenied, WrongState

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)
ADA = Reader("ada", sees_all=False)


def create(
    lab: Lab,
    *,
    gold: int = 0,
    ordinary: int = 0,
    gold_share: float = 0.0,
    repeat_share: float = 0.0,
) -> None:
    rules = Rules(TaskKind.VERIFY, gold_share=gold_share, repeat_share=repeat_share)
    lab.run(lab.store.create_project("vnc", display_name="", rules=rules))
    specs = [QuerySpec("r1", "set", number, rank=number) for number in range(ordinary)]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    add_gold(lab, gold)


def add_gold(lab: Lab, count: int) -> None:
    specs = [
        QuerySpec("r1", "gold", number, rank=number, role=Role.GOLD, gold=TRUE)
        for number in range(count)
    ]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))


def handed(lab: Lab, annotator: str, count: int, *, reader: Reader = SEES_ALL) -> list[Lease]:
    leases: list[Lease] = lab.run(
        lab.store.lease_queries(
            "vnc",
            annotator,
            count=count,
            ttl=lab.clock.minute,
            reader=reader,
        )
    )
    return leases


def roles(leases: list[Lease]) -> Counter[Role]:
    return Counter(lease.query.spec.role for lease in leases)


def give_skills(lab: Lab, annotator: str, *skills: str) -> None:
    change = AnnotatorChange(annotator, skills=skills)
    lab.run(lab.store.reviews.update_annotator("vnc", change))


def gold_candidates(leases: list[Lease]) -> list[int]:
    specs = [lease.query.spec for lease in leases]
    return sorted(spec.candidate for spec in specs if spec.role is Role.GOLD)


def listed(lab: Lab) -> tuple[Query, ...]:
    items: tuple[Query, ...] = lab.run(lab.store.list_queries("vnc", ALL)).items
    return items


def test_gold_queries_have_their_share_of_what_is_handed_out(lab: Lab) -> None:
    create(lab, gold=30, ordinary=300, gold_share=0.2)

    shares = [roles(handed(lab, "ada", 7))[Role.GOLD] for _ in range(10)]

    assert sum(shares) == 14
    assert max(shares) <= 2


def test_gold_that_comes_late_has_its_share_from_then_on(lab: Lab) -> None:
    create(lab, ordinary=300, gold_share=0.1)
    for _ in range(6):
        handed(lab, "ada", 20)

    add_gold(lab, 40)
    shares = [roles(handed(lab, "ada", 20))[Role.GOLD] for _ in range(5)]

    assert max(shares) <= 3
    assert 10 <= sum(shares) <= 11


def test_gold_that_comes_late_lies_apart_where_one_query_is_asked_for(lab: Lab) -> None:
    create(lab, ordinary=100, gold_share=0.2)
    handed(lab, "ada", 40)

    add_gold(lab, 30)
    is_gold = [roles(handed(lab, "ada", 1))[Role.GOLD] for _ in range(20)]

    assert 4 <= sum(is_gold) <= 5
    assert 2 not in [sum(pair) for pair in pairwise(is_gold)]


def test_a_larger_share_holds_from_then_on(lab: Lab) -> None:
    create(lab, gold=60, ordinary=300, gold_share=0.05)
    for _ in range(10):
        handed(lab, "ada", 20)

    lab.run(lab.store.update_project("vnc", ProjectChange(gold_share=0.25)))
    shares = [roles(handed(lab, "ada", 20))[Role.GOLD] for _ in range(4)]

    assert max(shares) <= 6
    assert 20 <= sum(shares) <= 21


def test_gold_is_given_its_share_however_many_calls_come_together(lab: Lab) -> None:
    create(lab, gold=60, ordinary=300, gold_share=0.1)

    async def together() -> list[list[Lease]]:
        lease = lab.store.lease_queries
        calls = [lease("vnc", "ada", count=5, ttl=lab.clock.minute) for _ in range(2)]
        return await asyncio.gather(*calls)

    leased = [leases for _ in range(20) for leases in lab.run(together())]

    assert 18 <= sum(roles(leases)[Role.GOLD] for leases in leased) <= 22


def test_a_larger_share_of_repeats_holds_from_then_on(lab: Lab) -> None:
    create(lab, ordinary=400, gold_share=0.01)
    asked = [lease.query.id for _ in range(10) for lease in handed(lab, "ada", 20)]
    lab.submit("ada", asked)

    lab.run(lab.store.update_project("vnc", ProjectChange(repeat_share=0.1)))
    again = [len(set(lab.lease("ada", 20)) & set(asked)) for _ in range(5)]

    assert max(again) <= 4
    assert 10 <= sum(again) <= 12


def test_one_query_at_a_time_repeats_come_beside_gold(lab: Lab) -> None:
    create(lab, gold=60, ordinary=100, gold_share=0.5, repeat_share=0.25)
    asked = [lease.query.id for lease in handed(lab, "ada", 30)]
    lab.submit("ada", asked)

    again = sum(lab.lease("ada", 1)[0] in asked for _ in range(20))

    assert 5 <= again <= 6


def test_an_annotator_gets_every_gold_query_once(lab: Lab) -> None:
    create(lab, gold=3, ordinary=100, gold_share=0.5)

    first = handed(lab, "ada", 20)
    second = handed(lab, "ada", 20)
    other = handed(lab, "bob", 20)

    assert (roles(first)[Role.GOLD], roles(second)[Role.GOLD]) == (3, 0)
    assert len(second) == 20
    assert roles(other)[Role.GOLD] == 3


def test_gold_looks_to_an_annotator_like_any_other_query(lab: Lab) -> None:
    create(lab, gold=5, ordinary=20, gold_share=0.25)

    leases = handed(lab, "ada", 20, reader=ADA)

    assert len(leases) == 20
    assert roles(leases) == {Role.STRATEGY: 20}
    assert {lease.query.state for lease in leases} == {QueryState.OPEN}
    assert {lease.query.spec.gold for lease in leases} == {None}
    places = [n for n, lease in enumerate(leases) if lease.query.spec.candidate_set == "gold"]
    assert places != sorted(range(20))[-5:]


def test_answers_to_gold_tell_of_the_annotator_and_never_decide(lab: Lab) -> None:
    create(lab, gold=2, ordinary=2, gold_share=0.5)
    leases = handed(lab, "ada", 4)

    labels = lab.submit("ada", [lease.query.id for lease in leases], FALSE)
    [ada] = lab.run(lab.store.reviews.list_annotators("vnc", ALL)).items

    assert Counter(label.purpose for label in labels) == {Purpose.GOLD: 2, Purpose.VOTE: 2}
    assert (ada.gold_answered, ada.gold_right, ada.labels) == (2, 0, 2)
    progress = lab.run(lab.store.progress("vnc"))
    assert (progress.queries, progress.decided) == (2, 2)


def test_repeats_are_queries_that_the_annotator_answered_before(lab: Lab) -> None:
    create(lab, ordinary=100, repeat_share=0.25)
    first = [lease.query.id for lease in handed(lab, "ada", 20)]
    lab.submit("ada", first, TRUE)

    leases = handed(lab, "ada", 20, reader=ADA)

    again = [lease.query for lease in leases if lease.query.id in first]
    assert len(leases) == 20
    assert sorted(query.id for query in again) == first[:10]
    assert {(query.state, query.votes) for query in again} == {(QueryState.OPEN, 0)}


def test_a_repeat_counts_for_nothing_but_constancy_and_comes_once(lab: Lab) -> None:
    create(lab, ordinary=4, repeat_share=0.5)
    first = lab.lease("ada", 2)
    lab.submit("ada", first, TRUE)
    second = lab.lease("ada", 4)

    labels = lab.submit("ada", second, FALSE)

    repeated = [label for label in labels if label.purpose is Purpose.REPEAT]
    assert sorted(label.query.id for label in repeated) == first
    assert [label.query.votes for label in repeated] == [1, 1]
    [ada] = lab.run(lab.store.reviews.list_annotators("vnc", ALL)).items
    assert (ada.repeats_answered, ada.repeats_same, ada.labels) == (2, 0, 4)
    consensus = lab.run(lab.store.list_consensus("vnc", ALL)).items
    assert [item.consensus.answer for item in consensus][:2] == [TRUE, TRUE]


def test_a_vote_that_is_taken_back_ends_its_repeat(lab: Lab) -> None:
    create(lab, ordinary=4, repeat_share=0.5)
    first = lab.vote("ada", 2)
    assert set(lab.lease("ada", 4)) == {1, 2, 3, 4}

    for label in first:
        lab.retract(label)
    leases = handed(lab, "ada", 4)

    assert [lease.query.id for lease in leases] == [1, 2]
    labels = lab.submit("ada", [1, 2])
    assert {label.purpose for label in labels} == {Purpose.VOTE}


def test_a_repeat_is_no_answer_of_those_who_took_their_vote_back(lab: Lab) -> None:
    rules = Rules(TaskKind.VERIFY, (), 2, ConsensusRule.MAJORITY, repeat_share=0.5)
    lab.run(lab.store.create_project("vnc", display_name="", rules=rules))
    lab.add(2)
    first, _ = lab.vote("ada", 2)
    lab.submit("ada", lab.lease("ada", 4), FALSE)
    lab.vote("bob", 2)

    lab.retract(first)

    assert lab.lease("ada", 4) == [first.query.id]
    [label] = lab.submit("ada", [first.query.id], FALSE)
    assert (label.purpose, label.query.votes) == (Purpose.VOTE, 2)
    assert [each.votes for each in lab.consensus().values()] == [2, 2]


def test_a_query_that_takes_a_skill_is_handed_to_those_who_have_it(lab: Lab) -> None:
    create(lab)
    specs = [
        QuerySpec("r1", "set", number, rank=number, skill=skill)
        for number, skill in enumerate(["axon", "", "synapse", "", "axon"])
    ]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    give_skills(lab, "ada", "axon")
    give_skills(lab, "bob", "axon", "synapse")

    unskilled = [lease.query.spec.rank for lease in handed(lab, "cyd", 1)]
    ada = [lease.query.spec.rank for lease in handed(lab, "ada", 2)]
    bob = [lease.query.spec.rank for lease in handed(lab, "bob", 9)]

    assert (unskilled, ada, bob) == ([1], [0, 3], [2, 4])


def test_gold_that_takes_a_skill_is_handed_to_those_who_have_it(lab: Lab) -> None:
    create(lab, ordinary=40, gold_share=0.5)
    specs = [
        QuerySpec("r1", "gold", number, rank=number, role=Role.GOLD, gold=TRUE, skill=skill)
        for number, skill in enumerate(["axon", "synapse", "", "axon"])
    ]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    give_skills(lab, "ada", "axon")

    unskilled, ada = handed(lab, "cyd", 10), handed(lab, "ada", 10)

    assert (len(unskilled), len(ada)) == (10, 10)
    assert gold_candidates(unskilled) == [2]
    assert gold_candidates(ada) == [0, 2, 3]


def test_whoever_lost_a_skill_is_not_asked_again_what_takes_it(lab: Lab) -> None:
    create(lab, repeat_share=0.5)
    specs = [QuerySpec("r1", "set", number, rank=number, skill="axon") for number in range(4)]
    specs += [QuerySpec("r1", "set", number, rank=number) for number in range(4, 40)]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    give_skills(lab, "ada", "axon")
    first = handed(lab, "ada", 8)
    lab.submit("ada", [lease.query.id for lease in first])
    give_skills(lab, "ada")

    second = handed(lab, "ada", 20)

    asked = {lease.query.spec.candidate for lease in second}
    assert asked & set(range(8)) == {4, 5, 6, 7}


def test_gold_and_repeats_come_from_all_rounds(lab: Lab) -> None:
    create(lab, gold=2, ordinary=2, gold_share=0.25, repeat_share=0.25)
    lab.add(20, round_="r2")
    lab.submit("ada", lab.lease("ada", 2, round_="r1"))

    leased = lab.lease("ada", 10, round_="r2")

    rounds = Counter(query.spec.round for query in listed(lab) if query.id in leased)
    assert rounds == {"r1": 4, "r2": 6}


def test_a_suspended_annotator_is_handed_nothing_and_others_of_the_batch_are(lab: Lab) -> None:
    create(lab, ordinary=4)
    change = AnnotatorChange("ada", suspended=True)
    lab.run(lab.store.reviews.update_annotator("vnc", change))

    with pytest.raises(PermissionDenied) as caught:
        handed(lab, "ada", 1)

    assert caught.value.reason == "ERROR_REASON_ANNOTATOR_SUSPENDED"
    assert len(handed(lab, "bob", 4)) == 4


def test_who_skips_a_query_is_not_handed_it_again_but_others_are(lab: Lab) -> None:
    create(lab, ordinary=2)
    first, second = lab.lease("ada", 2)

    skipped = skip(lab, "ada", [first])

    assert skipped == 1
    assert lab.lease("ada", 2) == []
    [lease] = handed(lab, "bob", 2)
    assert (lease.query.id, lease.query.skips) == (first, 1)
    assert lab.submit("ada", [second])[0].query.id == second


def test_the_same_skip_again_changes_nothing(lab: Lab) -> None:
    create(lab, ordinary=1)
    ids = lab.lease("ada", 1)

    assert skip(lab, "ada", ids) == skip(lab, "ada", ids) == 1
    with pytest.raises(AlreadyExists):
        skip(lab, "ada", ids, reason="else")
    assert lab.run(lab.store.list_queries("vnc", ALL)).items[0].skips == 1


def test_skips_are_all_or_none(lab: Lab) -> None:
    create(lab, ordinary=2)
    [mine] = lab.lease("ada", 1)
    [other] = lab.lease("bob", 1)

    with pytest.raises(WrongState) as caught:
        skip(lab, "ada", [mine, other])

    assert [each.subject for each in caught.value.violations] == ["skips[1]"]
    assert lab.submit("ada", [mine])


def test_each_answer_at_fault_is_named(lab: Lab) -> None:
    create(lab, ordinary=3)
    held = lab.lease("ada", 1)
    taken = lab.lease("bob", 1)
    lab.submit("bob", taken)
    [free] = {1, 2, 3} - {*held, *taken}

    with pytest.raises(WrongState) as caught:
        lab.submit("ada", [*held, *taken, free])

    assert [(each.subject, each.reason) for each in caught.value.violations] == [
        ("answers[1]", "ERROR_REASON_QUERY_ALREADY_DECIDED"),
        ("answers[2]", "ERROR_REASON_QUERY_NOT_LEASED"),
    ]
    assert lab.submit("ada", held)


def test_tags_are_kept_with_the_label(lab: Lab) -> None:
    create(lab, ordinary=1)
    [query] = lab.lease("ada", 1)
    votes = [Vote(query, TRUE, tags=("out-of-focus", "edge"))]

    lab.run(lab.store.submit_labels("vnc", "ada", votes, request_id="1"))

    [label] = lab.run(lab.store.list_labels("vnc", ALL)).items
    assert label.tags == ("out-of-focus", "edge")


def skip(lab: Lab, annotator: str, ids: list[int], *, reason: str = "blurred") -> int:
    asked = [Skip(query, reason) for query in ids]
    skipped: int = lab.run(lab.store.skip_queries("vnc", annotator, asked, request_id="s"))
    return skipped
