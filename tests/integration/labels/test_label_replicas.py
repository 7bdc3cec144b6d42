"""Two replicas of the service over one PostgreSQL: nobody is handed what another has.

`make proofs` hands out a hundred thousand leases.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

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
from proofs import amount, long_running

LEASES = amount(8_000, all=100_000)
ANNOTATORS = 64
VOTES = 3
AT_ONCE = 20
TTL_SECONDS = 2
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
