"""SIGKILL of the service and of PostgreSQL under sixty-four annotators, again and again.

`make proofs` kills two hundred times.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from label_crowd import (
    VNC,
    Annotator,
    Tokens,
    add_queries,
    connected,
    create_project,
    curator,
    events,
    is_away,
    listed,
    progress,
)
from label_processes import LabelsProcess, labels_process, postgres_process
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1 import query_pb2
from proofs import amount, long_running

ANNOTATORS = 64
VOTES = 2
LEASE_SECONDS = 3
FINISH_SECONDS = 90
# More than everybody can answer between two kills.
OPEN_QUERIES = 1000
KILLS_A_CAMPAIGN = 10
# Heard of before a kill.
FEWEST_SUBMISSIONS, MOST_SUBMISSIONS = 20, 120
Kill = Callable[[], None]


@dataclass
class Campaign:
    """What was acknowledged, and what the service says there is."""

    crowd: list[Annotator]
    queries: int = 0
    events: int = 0
    labels: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        cut_off = sum(len(each.forgotten) for each in self.crowd)
        return (
            f"{self.acknowledged()} submissions acknowledged, {cut_off} cut off for good,"
            f" {len(self.labels)} labels on {self.queries} queries"
        )

    def acknowledged(self) -> int:
        return sum(len(each.acknowledged) for each in self.crowd)

    async def keep_open(self, stub: Any) -> None:
        decided = (await progress(stub)).decided
        missing = OPEN_QUERIES - (self.queries - decided)
        if missing > 0:
            await add_queries(stub, missing, first=self.queries)
            self.queries += missing

    async def check(self, stub: Any) -> None:
        """Nothing acknowledged is missing, nothing is there twice, and all counts agree."""
        await self._read_events(stub)
        self._check_submissions()
        queries = await listed(stub)
        votes = Counter(query for query, _, _ in self.labels.values())
        told = await progress(stub)

        assert [query.candidate for query in queries] == list(range(self.queries))
        assert {query.name: query.votes for query in queries if query.votes} == votes
        assert max(votes.values()) <= VOTES
        decided = {query.name for query in queries if query.state == query_pb2.QUERY_STATE_DECIDED}
        assert decided == {query for query, count in votes.items() if count == VOTES}
        assert (told.queries, told.decided, told.labels, told.last_sequence) == (
            self.queries,
            len(decided),
            len(self.labels),
            self.events,
        )

    async def _read_events(self, stub: Any) -> None:
        news = await events(stub, after=self.events)
        expected = range(self.events + 1, self.events + 1 + len(news))
        assert [event.sequence for event in news] == list(expected)
        self.events += len(news)
        before = len(self.labels)
        self.labels |= {
            event.label.name: (event.label.query, event.label.annotator, event.label.verdict)
            for event in news
        }
        assert len(self.labels) == before + len(news)
        # Nobody votes twice on a query.
        assert len({label[:2] for label in self.labels.values()}) == len(self.labels)

    def _check_submissions(self) -> None:
        left = dict(self.labels)
        for annotator in self.crowd:
            for labels in annotator.acknowledged.values():
                for label in labels:
                    stored = left.pop(label.name, None)
                    assert stored == (label.query, annotator.name, label.verdict), label
        # What remains nobody was told of; it is of submissions that were cut off, whole ones.
        unheard = {label[:2] for label in left.values()}
        for annotator in self.crowd:
            for request in annotator.forgotten.values():
                asked = {(answer.query, annotator.name) for answer in request.answers}
                found = asked & unheard
                assert found in (set(), asked), "half a submission is stored"
                unheard -= found
        assert not unheard, "labels that nobody sent"


@dataclass
class Shift:
    """A time of work: what is heard from those who work, and when they are to end it."""

    heard: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    over: bool = False


async def work(annotator: Annotator, shift: Shift, luck: random.Random) -> None:
    """Lease and answer until the service goes away, or came back unnoticed."""
    try:
        while not shift.over:
            names = [
                leased.query.name for leased in await annotator.lease(4, seconds=LEASE_SECONDS)
            ]
            if luck.random() < 0.2 and names:
                request = pb.ReleaseQueriesRequest(parent=VNC, queries=[names.pop()])
                await annotator.stub.ReleaseQueries(request, timeout=60)
            if names:
                await annotator.answer(names)
                shift.heard.put_nowait(None)
    except grpc.RpcError as error:
        if not is_away(error):
            raise


async def killed_once(
    campaign: Campaign, kill: Kill, running: LabelsProcess, tokens: Tokens, luck: random.Random
) -> None:
    """Let everybody work, kill in the middle of it, and send again what was not acknowledged."""
    shift = Shift()
    async with connected(campaign.crowd, [running.address], tokens):
        working = [asyncio.create_task(work(each, shift, luck)) for each in campaign.crowd]
        for _ in range(luck.randint(FEWEST_SUBMISSIONS, MOST_SUBMISSIONS)):
            await asyncio.wait_for(shift.heard.get(), 60)
        await asyncio.sleep(luck.uniform(0, 0.05))
        await asyncio.to_thread(kill)
        shift.over = True
        await asyncio.gather(*working)
    async with connected(campaign.crowd, [running.address], tokens):
        for annotator in luck.sample(campaign.crowd, ANNOTATORS // 8):
            annotator.forget()
        await asyncio.gather(*(each.settle_once_it_is_back() for each in campaign.crowd))


async def finish(campaign: Campaign, stub: Any) -> None:
    """Answer all that is left; what the dead hold comes back once their leases have ended."""
    shift = Shift()

    async def work_on(annotator: Annotator) -> None:
        while not shift.over:
            leased = await annotator.lease(10)
            if leased:
                await annotator.answer([each.query.name for each in leased])
            else:
                await asyncio.sleep(0.2)

    async def look_on() -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        while not shift.over:
            await asyncio.sleep(0.2)
            done = (await progress(stub)).decided == campaign.queries
            shift.over = done or time.monotonic() > deadline

    await asyncio.gather(look_on(), *map(work_on, campaign.crowd))


async def held(
    running: LabelsProcess, kill: Kill, tokens: Tokens, *, kills: int, luck: random.Random
) -> Campaign:
    """Hold a campaign with some kills in it, to its end."""
    crowd = [Annotator(name, None) for name in tokens.annotators]
    campaign = Campaign(crowd)
    async with curator(running.address, tokens) as stub:
        await create_project(stub, votes_needed=VOTES)
        await campaign.keep_open(stub)
    for _ in range(kills):
        await killed_once(campaign, kill, running, tokens, luck)
        async with curator(running.address, tokens) as stub:
            await campaign.check(stub)
            await campaign.keep_open(stub)
    async with (
        curator(running.address, tokens) as stub,
        connected(crowd, [running.address], tokens),
    ):
        await finish(campaign, stub)
        await campaign.check(stub)
        told = await progress(stub)
        assert (told.decided, told.leased) == (campaign.queries, 0)
    return campaign


def restart(running: LabelsProcess) -> Kill:
    def kill() -> None:
        running.kill()
        running.start()

    return kill


@contextmanager
def victim(engine: str, folder: Path, tokens: Tokens) -> Iterator[tuple[LabelsProcess, Kill]]:
    """The service on a database, and how what is to die dies and comes back."""
    folder.mkdir()
    if engine == "sqlite":
        dsn = f"sqlite:///{folder / 'labels.db'}"
        with labels_process(dsn, folder, tokens.file) as running:
            yield running, restart(running)
        return
    with postgres_process() as server, labels_process(server.dsn, folder, tokens.file) as running:
        yield running, server.kill if engine == "postgresql itself" else restart(running)


@long_running
@pytest.mark.parametrize(
    ("engine", "kills"),
    [
        ("sqlite", amount(3, all=70)),
        pytest.param("postgresql", amount(2, all=65), marks=pytest.mark.postgres),
        pytest.param("postgresql itself", amount(3, all=65), marks=pytest.mark.postgres),
    ],
)
def test_what_was_acknowledged_is_there_exactly_once_after_kills(
    engine: str, kills: int, tmp_path: Path
) -> None:
    tokens = Tokens.written(tmp_path, annotators=ANNOTATORS)
    start = time.monotonic()
    for number in range(0, kills, KILLS_A_CAMPAIGN):
        few, folder = min(KILLS_A_CAMPAIGN, kills - number), tmp_path / f"{number}"
        luck = random.Random(f"{engine} {number}")

        with victim(engine, folder, tokens) as (running, kill):
            campaign = asyncio.run(held(running, kill, tokens, kills=few, luck=luck))

        assert campaign.acknowledged() >= few * FEWEST_SUBMISSIONS
        print(f"{number + few} kills of {engine}, {time.monotonic() - start:.0f} s: {campaign}")
