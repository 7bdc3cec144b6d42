"""Two replicas of the service over one PostgreSQL: nobody is handed what another has.

`make proofs` hands out a hundred thousand leases.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from label_crowd import (
    VNC,
    Annotator,
    Tokens,
    add_queries,
    connected,
    create_project,
    curator,
    progress,
)
from label_processes import labels_process
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal_labels.answers import TRUE
from parfocal_labels.records import QuerySpec, Role
from parfocal_labels.statements import Statements
from parfocal_runtime.transactions import Row, Session
from proofs import amount, long_running

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

LEASES = amount(8_000, all=100_000)
ANNOTATORS = 64
VOTES = 3
AT_ONCE = 20
TTL_SECONDS = 2
GATE = 20_261_127
WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
# Of all leases; the others are given back, or end by themselves.
ANSWERED, RELEASED = 0.3, 0.5


@dataclass
class Holding:
    """A time in which somebody surely had a query: from hearing of it to giving it up.

    Who answered a query keeps the place that they took.
    """

    annotator: str
    start: float
    end: float


@dataclass
class Book:
    """Who had what when."""

    holdings: dict[str, list[Holding]] = field(default_factory=lambda: defaultdict(list))
    leases: int = 0
    answers: int = 0

    def most_at_once(self) -> int:
        return max(map(_most_at_once, self.holdings.values()))

    def twice(self) -> list[tuple[str, str]]:
        """Queries that somebody was handed who had, or had answered, them."""
        found = []
        for query, holdings in self.holdings.items():
            ends: dict[str, float] = {}
            for one in sorted(holdings, key=lambda each: each.start):
                if one.start < ends.get(one.annotator, -math.inf):
                    found.append((query, one.annotator))
                ends[one.annotator] = max(one.end, ends.get(one.annotator, -math.inf))
        return found


def _most_at_once(holdings: list[Holding]) -> int:
    # What ends at a moment makes place for what begins then.
    changes = sorted([(one.start, 1) for one in holdings] + [(one.end, -1) for one in holdings])
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


async def work(annotator: Annotator, book: Book, luck: random.Random) -> None:
    while book.leases < LEASES:
        leased = await annotator.lease(luck.randint(1, AT_ONCE), seconds=TTL_SECONDS)
        now = time.time()
        mine = [
            Holding(annotator.name, now, each.expire_time.ToNanoseconds() * 1e-9) for each in leased
        ]
        names = [each.query.name for each in leased]
        for name, holding in zip(names, mine, strict=True):
            book.holdings[name].append(holding)
        book.leases += len(leased)
        if names:
            await give_up(annotator, names, mine, book, luck.random())


async def give_up(
    annotator: Annotator, names: list[str], mine: list[Holding], book: Book, luck: float
) -> None:
    """Answer what was leased, or give it back, or let it go."""
    if luck < ANSWERED:
        if await annotator.answer(names):
            book.answers += len(names)
            for holding in mine:
                holding.end = math.inf
    elif luck < ANSWERED + RELEASED:
        # Before the service knows of it.
        now = time.time()
        for holding in mine:
            holding.end = min(now, holding.end)
        request = pb.ReleaseQueriesRequest(parent=VNC, queries=names)
        await annotator.stub.ReleaseQueries(request, timeout=60)


async def labelled(addresses: list[str], tokens: Tokens) -> tuple[Book, pb.GetProgressResponse]:
    book = Book()
    crowd = [Annotator(name, None) for name in tokens.annotators]
    async with curator(addresses[0], tokens) as stub, connected(crowd, addresses, tokens):
        await create_project(stub, votes_needed=VOTES)
        await add_queries(stub, LEASES // VOTES)
        await asyncio.gather(*(work(each, book, random.Random(each.name)) for each in crowd))
        return book, await progress(stub)


@long_running
@pytest.mark.postgres
def test_no_query_is_held_by_more_people_than_votes_are_missing(
    postgres_database: str, tmp_path: Path
) -> None:
    tokens = Tokens.written(tmp_path, annotators=ANNOTATORS)
    start = time.monotonic()

    with ExitStack() as stack:
        replicas = [
            stack.enter_context(labels_process(postgres_database, tmp_path, tokens.file))
            for _ in range(2)
        ]
        book, told = asyncio.run(labelled([each.address for each in replicas], tokens))

    handed_on = sum(len(holdings) > VOTES for holdings in book.holdings.values())
    print(
        f"{book.leases} leases by two replicas, {book.answers} answered, {len(book.holdings)}"
        f" queries, {handed_on} of them handed on, {time.monotonic() - start:.0f} s"
    )
    assert book.twice() == []
    assert book.most_at_once() == VOTES
    assert told.labels == told.last_sequence == book.answers
    assert handed_on > LEASES // 100, "too little was contended"


class Halting:
    """A session whose first look sees the database as it is, and then waits before it locks."""

    is_postgresql = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wait = f"AND pg_advisory_xact_lock_shared({GATE}) IS NOT NULL AND s.skill"

    async def rows(self, statement: str, *parameters: object) -> Sequence[Row]:
        halting, self._wait = statement.replace("AND s.skill", self._wait), "AND s.skill"
        return await self._session.rows(halting, *parameters)

    async def run(self, statement: str, *parameters: object) -> None:
        await self._session.run(statement, *parameters)

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._session.run_many(statement, rows)


@pytest.mark.postgres
@pytest.mark.parametrize("dsn", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["gold", "repeats"])
def test_gold_and_repeats_are_looked_up_again_once_they_are_locked(
    lab: Lab, dsn: str, kind: str
) -> None:
    share = 0.5 if kind == "gold" else 0.0
    lab.create(gold_share=share, repeat_share=0.5 - share)
    specs = [QuerySpec("r1", "gold", n, rank=n, role=Role.GOLD, gold=TRUE) for n in range(3)]
    lab.run(lab.store.add_queries("vnc", specs, caller="loop"))
    lab.add(40)
    if kind == "repeats":
        lab.vote("ada", 6)

    async def look(session: Session) -> set[int]:
        statements = Statements(Halting(session))
        rows = await getattr(statements, kind)(1, "ada", ("",), count=6)
        return {row["id"] for row in rows}

    async def scenario() -> tuple[set[int], set[int]]:
        other = await asyncpg.connect(dsn)
        await other.execute(f"SELECT pg_advisory_lock({GATE})")
        looking = asyncio.create_task(lab.database.transactions.run(look))
        for _ in range(1000):
            if await other.fetchval(WAITING):
                break
            await asyncio.sleep(0.01)
        leases = await lab.store.lease_queries("vnc", "ada", count=4, ttl=timedelta(minutes=1))
        await other.close()
        return await looking, {lease.query.id for lease in leases}

    found, held = lab.run(scenario())

    extras = {1, 2, 3} if kind == "gold" else {4, 5, 6, 7, 8, 9}
    assert extras & held
    assert found == extras - held != set()
