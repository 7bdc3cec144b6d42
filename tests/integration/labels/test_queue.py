from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from parfocal_labels.answers import FALSE, TRUE
from parfocal_labels.paging import PageRequest
from parfocal_labels.projects import Hold, find_project
from parfocal_labels.records import (
    ModelVersion,
    ProjectChange,
    Query,
    QuerySpec,
    QueryState,
    Role,
    Vote,
)
from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)


def queries(lab: Lab, *, round_: str = "") -> tuple[Query, ...]:
    page = lab.run(lab.store.list_queries(lab.project, ALL, round_=round_))
    items: tuple[Query, ...] = page.items
    return items


def test_a_query_comes_back_as_it_was_added(lab: Lab) -> None:
    lab.create()
    spec = QuerySpec(
        round="r1",
        candidate_set="set",
        candidate=2**62,
        rank=3,
        priority=-2,
        role=Role.RANDOM,
        strategy="two-stream",
        reason='{"cell": 4}',
        model=ModelVersion("unet", 3),
        image="projects/vnc/images/a.ome.zarr/0",
        box=Box((0, 1, 2), (3, 4, 2**40)),
        patches="projects/vnc/candidates/set/patches.zarr",
    )

    lab.run(lab.store.add_queries("vnc", [spec], caller="loop"))

    [query] = queries(lab)
    assert query.spec == spec
    assert (query.state, query.votes) == (QueryState.OPEN, 0)
    assert query.create_time == lab.clock.now


def test_a_candidate_of_a_set_is_asked_once_in_a_round(lab: Lab) -> None:
    lab.create()
    specs = [QuerySpec("r1", "set", 7, rank=0), QuerySpec("r1", "set", 7, rank=1)]

    first = lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    again = lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    elsewhere = [QuerySpec("r2", "set", 7, rank=0), QuerySpec("r1", "other", 7, rank=0)]
    new = lab.run(lab.store.add_queries("vnc", elsewhere, caller="loop"))

    assert (first, again, new) == (1, 0, 2)
    assert [query.spec.rank for query in queries(lab)] == [0, 0, 0]


def test_thousands_of_queries_are_added_at_once(lab: Lab) -> None:
    lab.create().add(2500)

    added = lab.run(
        lab.store.add_queries(
            "vnc",
            [QuerySpec("r1", "set", number, rank=number) for number in range(1000, 4000)],
            caller="loop",
        )
    )

    assert added == 1500


def test_the_same_request_id_adds_once_and_answers_alike(lab: Lab) -> None:
    lab.create()
    specs = [QuerySpec("r1", "set", number, rank=number) for number in range(3)]

    answers = [
        lab.run(lab.store.add_queries("vnc", specs, caller="loop", request_id="a"))
        for _ in range(2)
    ]

    assert answers == [3, 3]
    assert len(queries(lab)) == 3


def test_a_request_id_with_other_queries_is_refused(lab: Lab) -> None:
    lab.create()
    lab.run(
        lab.store.add_queries("vnc", [QuerySpec("r1", "set", 0, 0)], caller="loop", request_id="a")
    )

    with pytest.raises(AlreadyExists) as caught:
        lab.run(
            lab.store.add_queries(
                "vnc", [QuerySpec("r1", "set", 1, 0)], caller="loop", request_id="a"
            )
        )

    assert caught.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"
    assert len(queries(lab)) == 1


def test_two_callers_may_use_the_same_request_id(lab: Lab) -> None:
    lab.create()

    for number, caller in enumerate(("loop", "import")):
        specs = [QuerySpec("r1", "set", number, 0)]
        lab.run(lab.store.add_queries("vnc", specs, caller=caller, request_id="a"))

    assert len(queries(lab)) == 2


def test_an_unknown_project_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFound) as caught:
        lab.lease("ada", 1)

    assert caught.value.reason == "ERROR_REASON_PROJECT_NOT_FOUND"


def test_queries_are_handed_out_by_priority_then_rank(lab: Lab) -> None:
    lab.create().add(3, round_="late").add(2, round_="urgent", first=10, priority=5)

    taken = lab.lease("ada", 4)

    specs = {query.id: query.spec for query in queries(lab)}
    order = [(specs[query].round, specs[query].rank) for query in taken]
    assert order == [("urgent", 0), ("urgent", 1), ("late", 0), ("late", 1)]


def test_a_round_can_be_asked_for(lab: Lab) -> None:
    lab.create().add(2, round_="a").add(2, round_="b")

    taken = lab.lease("ada", 10, round_="b")

    assert taken == [query.id for query in queries(lab, round_="b")]


def test_two_people_never_hold_the_same_query_where_one_vote_is_needed(lab: Lab) -> None:
    lab.create().add(5)

    first, second, third = (lab.lease(name, 3) for name in ("ada", "bob", "cyd"))

    assert len(first) == 3
    assert len(second) == 2
    assert third == []
    assert not set(first) & set(second)


def test_as_many_people_hold_a_query_as_votes_are_missing(lab: Lab) -> None:
    lab.create(votes=3).add(1)
    lab.vote("ada", 1)

    holders = [len(lab.lease(name, 1)) for name in ("ada", "bob", "cyd", "dan")]

    assert holders == [0, 1, 1, 0]


def test_nobody_holds_a_query_twice(lab: Lab) -> None:
    lab.create(votes=3).add(2)

    assert len(lab.lease("ada", 5)) == 2
    assert lab.lease("ada", 5) == []


def test_nobody_gets_a_query_that_they_have_answered(lab: Lab) -> None:
    lab.create(votes=2).add(3)
    answered = {label.query.id for label in lab.vote("ada", 2)}

    assert answered.isdisjoint(lab.lease("ada", 5))


def test_a_lease_that_ends_gives_the_query_back_at_its_place(lab: Lab) -> None:
    lab.create().add(4)
    first = lab.lease("ada", 2, seconds=10)

    lab.clock.advance(9.999)
    before = lab.lease("bob", 1)
    lab.clock.advance(0.001)
    after = lab.lease("cyd", 3)

    assert set(before).isdisjoint(first)
    assert after[:2] == first


def test_many_leases_that_ended_come_back_at_once(lab: Lab) -> None:
    lab.create(votes=2).add(30)
    for name in ("ada", "bob"):
        lab.lease(name, 30, seconds=5)

    lab.clock.advance(5)

    assert len(lab.lease("cyd", 100)) == 30
    assert len(lab.lease("dan", 100)) == 30
    assert lab.lease("eve", 100) == []


def test_many_leases_that_ended_elsewhere_do_not_stand_before_those_of_a_round(lab: Lab) -> None:
    lab.create().add(2100).add(5, round_="r2")
    for _ in range(3):
        lab.lease("ada", 700, seconds=60, round_="r1")
    lab.lease("bob", 5, seconds=120, round_="r2")

    lab.clock.advance(120)

    assert len(lab.lease("cyd", 5, round_="r2")) == 5


def test_a_lease_lasts_from_when_it_is_given_not_from_when_it_is_asked_for(lab: Lab) -> None:
    lab.create().add(4)
    first = lab.lease("ada", 2, seconds=60)
    lease, renew = lab.store.lease_queries, lab.store.renew_leases
    ttl = timedelta(seconds=10)

    async def scenario() -> tuple[datetime, datetime]:
        async with lab.database.write() as connection:
            await find_project(connection, "vnc", hold=Hold.ALL)
            leasing = asyncio.create_task(lease("vnc", "bob", count=2, ttl=ttl))
            renewing = asyncio.create_task(renew("vnc", "ada", first, ttl=ttl))
            # Long enough for both to wait.
            await asyncio.sleep(0.2)
            lab.clock.advance(30)
        leases, (held, until) = await leasing, await renewing
        assert held == set(first)
        return max(each.expire_time for each in leases), until

    ends = lab.run(scenario())

    assert ends == (lab.clock.now + ttl, lab.clock.now + ttl)
    lab.clock.advance(9)
    assert len(lab.submit("bob", [3, 4])) == len(lab.submit("ada", first)) == 2


def test_a_heartbeat_prolongs_a_lease(lab: Lab) -> None:
    lab.create().add(2)
    held = lab.lease("ada", 1, seconds=10)

    lab.clock.advance(8)
    renewed, until = lab.run(lab.store.renew_leases("vnc", "ada", held, ttl=timedelta(seconds=10)))
    lab.clock.advance(8)

    assert renewed == set(held)
    assert until == lab.clock.now + timedelta(seconds=2)
    assert not set(held) & set(lab.lease("bob", 2))


def test_a_heartbeat_does_not_revive_a_lease_that_ended_or_is_somebody_elses(lab: Lab) -> None:
    lab.create().add(2)
    [ended] = lab.lease("ada", 1, seconds=10)
    [other] = lab.lease("bob", 1, seconds=99)

    lab.clock.advance(10)
    renewed, _ = lab.run(
        lab.store.renew_leases("vnc", "ada", [ended, other, 999], ttl=timedelta(seconds=10))
    )

    assert renewed == set()


def test_released_queries_go_to_the_next_caller(lab: Lab) -> None:
    lab.create().add(3)
    held = lab.lease("ada", 3)

    released = lab.run(lab.store.release_queries("vnc", "ada", [*held[:2], 999]))

    assert released == 2
    assert lab.lease("bob", 3) == held[:2]


def test_nobody_releases_what_others_hold(lab: Lab) -> None:
    lab.create().add(1)
    held = lab.lease("ada", 1)

    assert lab.run(lab.store.release_queries("vnc", "bob", held)) == 0
    assert lab.lease("bob", 1) == []


def test_a_withdrawn_round_is_not_handed_out_and_keeps_what_is_decided(lab: Lab) -> None:
    lab.create().add(3, round_="a").add(1, round_="b")
    lab.submit("ada", lab.lease("ada", 1, round_="a"))
    lab.lease("bob", 1, round_="a")

    withdrawn = lab.run(lab.store.withdraw_queries("vnc", "a"))

    states = Counter(query.state for query in queries(lab, round_="a"))
    assert withdrawn == 2
    assert states == {QueryState.WITHDRAWN: 2, QueryState.DECIDED: 1}
    assert len(lab.lease("cyd", 10)) == 1


def test_a_withdrawn_query_stays_so_and_loses_a_vote_that_is_taken_back(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    [label] = lab.vote("ada", 1)
    lab.run(lab.store.withdraw_queries("vnc", "r1"))

    lab.retract(label)

    [query] = queries(lab)
    assert (query.state, query.votes) == (QueryState.WITHDRAWN, 0)


def test_a_withdrawn_query_stays_so_when_it_is_added_again(lab: Lab) -> None:
    lab.create().add(1)
    lab.run(lab.store.withdraw_queries("vnc", "r1"))

    lab.add(1)

    assert [query.state for query in queries(lab)] == [QueryState.WITHDRAWN]


def test_more_votes_needed_reopen_what_was_decided(lab: Lab) -> None:
    lab.create().add(1)
    lab.vote("ada", 1)

    lab.run(lab.store.update_project("vnc", ProjectChange(votes_needed=2)))

    assert lab.lease("ada", 1) == []
    assert len(lab.lease("bob", 1)) == 1


def test_fewer_votes_needed_decide_what_has_them(lab: Lab) -> None:
    lab.create(votes=3).add(2)
    lab.vote("ada", 1, TRUE)

    lab.run(lab.store.update_project("vnc", ProjectChange(votes_needed=1)))

    assert [query.state for query in queries(lab)] == [QueryState.DECIDED, QueryState.OPEN]


def test_queries_are_listed_in_pages_by_round_and_rank(lab: Lab) -> None:
    lab.create().add(3, round_="b").add(4, round_="a")

    seen: list[tuple[str, int]] = []
    request: PageRequest | None = PageRequest(2)
    while request:
        page = lab.run(lab.store.list_queries("vnc", request))
        seen += [(query.spec.round, query.spec.rank) for query in page.items]
        request = PageRequest(2, page.next_key) if page.next_key else None

    assert seen == [("a", rank) for rank in range(4)] + [("b", rank) for rank in range(3)]


@pytest.mark.parametrize("votes", [1, 3])
def test_sixteen_annotators_at_once_never_hold_more_than_votes_are_missing(
    lab: Lab, votes: int
) -> None:
    lab.create(votes=votes).add(60)

    async def annotate(name: str) -> list[tuple[int, str]]:
        given: list[tuple[int, str]] = []
        while True:
            leases = await lab.store.lease_queries("vnc", name, count=3, ttl=timedelta(seconds=60))
            if not leases:
                return given
            given += [(lease.query.id, name) for lease in leases]

    async def everybody() -> list[list[tuple[int, str]]]:
        return await asyncio.gather(*(annotate(f"annotator-{n}") for n in range(16)))

    given = [pair for pairs in lab.run(everybody()) for pair in pairs]

    assert len(set(given)) == len(given) == 60 * votes
    assert set(Counter(query for query, _ in given).values()) == {votes}


def test_sixteen_annotators_at_once_decide_every_query_exactly_once(lab: Lab) -> None:
    lab.create(votes=2).add(50)

    async def annotate(name: str) -> None:
        for number in count():
            leases = await lab.store.lease_queries("vnc", name, count=4, ttl=lab.clock.minute)
            if leases:
                votes = [Vote(lease.query.id, FALSE) for lease in leases]
                await lab.store.submit_labels("vnc", name, votes, request_id=f"{number}")
            elif (await lab.store.progress("vnc")).decided == 50:
                return

    async def everybody() -> None:
        await asyncio.gather(*(annotate(f"annotator-{n}") for n in range(16)))

    lab.run(everybody())

    events = lab.events()
    per_query = Counter(event.label.query.id for event in events)
    assert [event.sequence for event in events] == list(range(1, 101))
    assert set(per_query.values()) == {2}
    assert {query.state for query in queries(lab)} == {QueryState.DECIDED}


def test_who_is_far_ahead_of_the_others_still_gets_the_next(lab: Lab) -> None:
    lab.create(votes=3).add(300)
    for _ in range(7):
        lab.vote("ada", 40)

    ahead = lab.lease("ada", 40)
    behind = lab.lease("bob", 40)

    assert len(ahead) == 20
    assert min(ahead) == 281
    assert behind == list(range(1, 41))


def test_who_took_an_answer_back_is_handed_the_query_again(lab: Lab) -> None:
    lab.create(votes=2).add(60)
    labels = lab.vote("ada", 50)

    lab.run(lab.store.retract_label("vnc", labels[7].sequence, caller="ada"))

    assert lab.lease("ada", 20) == [labels[7].query.id, *range(51, 61)]
