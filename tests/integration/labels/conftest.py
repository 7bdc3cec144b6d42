from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import text

from parfocal_labels.answers import TRUE, Answer, TaskKind
from parfocal_labels.consensus import Consensus, ConsensusRule
from parfocal_labels.migrate import migrate
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import Label, LabelEvent, QuerySpec, QueryState, Rules, Vote
from parfocal_labels.schema import metadata
from parfocal_labels.store import LabelStore
from parfocal_runtime.database import Database
from parfocal_runtime.store import ObjectStore, open_store

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

ALL = PageRequest(1000)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    minute = timedelta(seconds=60)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Lab:
    """A label store with one project, driven from synchronous tests."""

    store: LabelStore
    database: Database
    objects: ObjectStore
    clock: Clock
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    project: str = "vnc"
    calls: Iterator[int] = field(default_factory=count)

    def create(
        self,
        *,
        votes: int = 1,
        classes: tuple[str, ...] = (),
        rule: ConsensusRule | None = None,
        project: str = "vnc",
        **further: Any,
    ) -> Lab:
        self.project = project
        default = ConsensusRule.FIRST_VOTE if votes == 1 else ConsensusRule.MAJORITY
        kind = TaskKind.CLASSIFY if classes else TaskKind.VERIFY
        rules = Rules(kind, classes, votes, rule or default, **further)
        self.run(self.store.create_project(project, display_name="", rules=rules))
        return self

    def add(self, number: int, *, round_: str = "r1", first: int = 0, priority: int = 0) -> Lab:
        specs = [
            QuerySpec(round_, "set", first + rank, rank=rank, priority=priority)
            for rank in range(number)
        ]
        self.run(self.store.add_queries(self.project, specs, caller="loop"))
        return self

    def lease(
        self, annotator: str, number: int, *, seconds: float = 60, round_: str = ""
    ) -> list[int]:
        leases = self.run(
            self.store.lease_queries(
                self.project,
                annotator,
                count=number,
                ttl=timedelta(seconds=seconds),
                round_=round_,
            )
        )
        return [lease.query.id for lease in leases]

    def submit(
        self,
        annotator: str,
        ids: Sequence[int],
        answer: Answer = TRUE,
        *,
        request_id: str = "",
        seconds: float = 1.5,
    ) -> list[Label]:
        labels: list[Label] = self.run(
            self.store.submit_labels(
                self.project,
                annotator,
                [Vote(query, answer, seconds) for query in ids],
                request_id=request_id or f"call-{next(self.calls)}",
                client="test/1",
            )
        )
        return labels

    def vote(self, annotator: str, number: int, answer: Answer = TRUE) -> list[Label]:
        return self.submit(annotator, self.lease(annotator, number), answer)

    def revise(
        self, sequence: int, answer: Answer, *, caller: str = "ada", request_id: str = ""
    ) -> Label:
        label: Label = self.run(
            self.store.reviews.revise_label(
                self.project,
                sequence,
                Vote(0, answer, 2.5, ("again",)),
                caller=caller,
                request_id=request_id or f"call-{next(self.calls)}",
            )
        )
        return label

    def adjudicate(self, query: int, answer: Answer, *, request_id: str = "") -> Label:
        label: Label = self.run(
            self.store.reviews.adjudicate_query(
                self.project,
                Vote(query, answer),
                curator="cur",
                request_id=request_id or f"call-{next(self.calls)}",
            )
        )
        return label

    def retract(self, label: Label) -> None:
        self.run(
            self.store.retract_label(self.project, label.sequence, caller="cur", of_anybody=True)
        )

    def consensus(self, *, round_: str = "") -> dict[int, Consensus]:
        listed = self.run(self.store.list_consensus(self.project, ALL, round_=round_))
        return {item.query.id: item.consensus for item in listed.items}

    def states(self) -> dict[int, QueryState]:
        listed = self.run(self.store.list_queries(self.project, ALL))
        return {query.id: query.state for query in listed.items}

    def events(self, *, after: int = 0) -> list[LabelEvent]:
        async def collect() -> list[LabelEvent]:
            stream = self.store.watch_labels(self.project, after=after, until_present=True)
            return [event async for event in stream]

        events: list[LabelEvent] = self.run(collect())
        return events


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "template.db"
    asyncio.run(_migrated(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_dsn: str) -> str:
    """Address of a database that these tests have for themselves."""
    asyncio.run(_created(postgres_dsn, "labels"))
    address = f"{postgres_dsn.rpartition('/')[0]}/labels"
    asyncio.run(_migrated(address))
    return address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database with the present schema."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        return f"sqlite:///{shutil.copy(template, tmp_path / 'labels.db')}"
    address: str = request.getfixturevalue("postgres_template")
    asyncio.run(_emptied(address))
    return address


@pytest.fixture
def lab(dsn: str, run: Run[Any], tmp_path: Path) -> Iterator[Lab]:
    clock, database = Clock(), Database(dsn)
    objects = open_store(f"file://{tmp_path}/objects")
    store = LabelStore(database, objects, clock=clock, poll_seconds=0.05)
    yield Lab(store, database, objects, clock, run)
    run(database.close())


async def _created(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


async def _migrated(dsn: str) -> None:
    database = Database(dsn)
    await migrate(database)
    await database.close()


async def _emptied(dsn: str) -> None:
    database = Database(dsn)
    tables = ", ".join(metadata.tables)
    async with database.write() as connection:
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    await database.close()
