"""Leases that are over: what one call puts back, and that nobody misses what is free."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from explaining import Explaining
from parfocal_labels.annotators import AnnotatorChange
from parfocal_labels.records import QuerySpec
from parfocal_labels.schema import leases
from parfocal_labels.statements import Statements
from parfocal_runtime.transactions import Session

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

NONE = "r9"


def kept(lab: Lab) -> int:
    """Return how many leases there are, those that are over among them."""

    async def count() -> int:
        async with lab.database.read() as connection:
            statement = select(func.count()).select_from(leases)
            return int((await connection.execute(statement)).scalar_one())

    number: int = lab.run(count())
    return number


def weekend(lab: Lab) -> None:
    """Let leases on three thousand queries end, and then those on five of another round."""
    lab.create().add(3000).add(5, round_="r2")
    for _ in range(3):
        lab.lease("ada", 1000, round_="r1")
    lab.lease("bob", 5, seconds=120, round_="r2")
    lab.clock.advance(3600)


def test_a_call_puts_back_a_part_of_what_ended_and_gets_what_is_free(lab: Lab) -> None:
    weekend(lab)

    handed = lab.lease("cyd", 5, round_="r2")

    assert len(handed) == 5
    assert kept(lab) >= 2000
    assert lab.lease("dan", 5, round_="r2") == []


def test_the_next_calls_put_back_the_rest(lab: Lab) -> None:
    weekend(lab)

    for _ in range(4):
        lab.lease("cyd", 1, round_=NONE)
        lab.clock.advance(1)

    assert kept(lab) == 0
    assert lab.lease("dan", 3, round_="r1") == [1, 2, 3]


def test_who_has_answered_what_is_put_back_first_gets_what_lies_behind(lab: Lab) -> None:
    lab.create(votes=2).add(1400)
    for count in (1000, 200):
        lab.vote("ada", count)
    for count in (1000, 400):
        lab.lease("bob", count)
    lab.lease("eve", 400)
    lab.clock.advance(3600)

    assert lab.lease("ada", 300) == list(range(1201, 1401))


def test_of_what_lies_behind_the_best_comes_first(lab: Lab) -> None:
    weekend(lab)
    lab.add(3, round_="r3", first=100, priority=1).add(3, round_="r3", first=200, priority=2)
    lab.lease("bob", 6, seconds=10, round_="r3")
    lab.clock.advance(3600)

    assert lab.lease("cyd", 4, round_="r3") == [3009, 3010, 3011, 3006]


def test_what_lies_behind_is_for_those_who_have_its_skill(lab: Lab) -> None:
    weekend(lab)
    specs = [QuerySpec("r3", "set", n, rank=n, skill="axon" if n else "") for n in range(3)]
    lab.run(lab.store.add_queries(lab.project, specs, caller="loop"))
    for name in ("bob", "eve"):
        change = AnnotatorChange(name, skills=("axon",))
        lab.run(lab.store.reviews.update_annotator(lab.project, change))
    lab.lease("bob", 3, seconds=10, round_="r3")
    lab.clock.advance(3600)

    unskilled, skilled = lab.lease("cyd", 3, round_="r3"), lab.lease("eve", 3, round_="r3")

    assert (unskilled, skilled) == ([3006], [3007, 3008])


def test_a_lease_of_ones_own_that_ended_a_moment_ago_does_not_stand_in_the_way(lab: Lab) -> None:
    lab.create(votes=2).add(1)
    lab.lease("ada", 1, seconds=10)
    lab.clock.advance(9.8)
    lab.lease("bob", 1, round_=NONE)

    lab.clock.advance(0.4)

    assert lab.lease("ada", 1) == [1]


def test_a_place_that_came_free_a_moment_ago_goes_to_the_next_who_asks_with_others(
    lab: Lab,
) -> None:
    lab.create(votes=2).add(1)
    lab.lease("ada", 1, seconds=10)
    lab.clock.advance(9.8)
    lab.lease("ada", 1, round_=NONE)
    lab.clock.advance(0.4)

    async def together() -> list[int]:
        lease = lab.store.lease_queries
        calls = [lease("vnc", name, count=1, ttl=timedelta(minutes=1)) for name in ("bob", "cyd")]
        return [len(leased) for leased in await asyncio.gather(*calls)]

    assert lab.run(together()) == [1, 1]


def test_leases_that_are_over_are_ended_by_their_queries(lab: Lab) -> None:
    weekend(lab)

    async def explained(session: Session) -> str:
        explaining = Explaining(session)
        await Statements(explaining).end_expired(range(1, 1001), now=2**60, votes_needed=1)
        return explaining.plans[0]

    plan = lab.run(lab.database.transactions.run(explained))

    assert "pk_leases" in plan or "sqlite_autoindex_leases_1" in plan


def test_leases_end_at_their_place_also_after_a_clock_was_set_back(lab: Lab) -> None:
    lab.create().add(4)
    lab.lease("ada", 1, round_=NONE)
    lab.clock.advance(-3600)
    first = lab.lease("ada", 1, seconds=10)

    lab.clock.advance(10)

    assert lab.lease("bob", 1) == first
