"""What the busy calls do when the database is cut off, or was never there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from parfocal_labels.answers import TRUE
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_labels.records import Vote
from parfocal_labels.store import LabelStore
from parfocal_runtime.database import Database
from parfocal_runtime.errors import Unavailable
from parfocal_runtime.store import open_store
from parfocal_runtime.transactions import CONNECT_SECONDS, Session

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab, Run

MINUTE = timedelta(minutes=1)
CUT_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.postgres
@pytest.mark.parametrize("dsn", ["postgresql"], indirect=True)
def test_calls_go_on_over_new_connections_when_theirs_are_cut(lab: Lab, dsn: str) -> None:
    lab.create().add(40)

    async def scenario() -> list[int]:
        server = await asyncpg.connect(dsn)
        sequences = []
        for number in range(5):
            leases = await lab.store.lease_queries("vnc", "ada", count=4, ttl=lab.clock.minute)
            await server.fetch(CUT_ALL)
            votes = [Vote(lease.query.id, TRUE) for lease in leases]
            labels = await lab.store.submit_labels("vnc", "ada", votes, request_id=str(number))
            sequences += [label.sequence for label in labels]
        await server.close()
        return sequences

    assert lab.run(scenario()) == list(range(1, 21))


@pytest.mark.parametrize(
    "address", ["postgresql://postgres@127.0.0.1:1/none", "sqlite:////nowhere/labels.db"]
)
def test_without_a_database_nobody_is_handed_anything(
    address: str, run: Run[Any], tmp_path: Path
) -> None:
    async def lease() -> None:
        database = Database(address)
        store = LabelStore(database, open_store(tmp_path.as_uri()))
        try:
            await asyncio.gather(
                *(store.lease_queries("vnc", name, count=1, ttl=MINUTE) for name in ("ada", "bob"))
            )
        finally:
            await database.close()

    with pytest.raises(Unavailable) as caught:
        run(lease())

    assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


def test_a_statement_that_is_wrong_is_no_outage(lab: Lab) -> None:
    async def work(session: Session) -> object:
        return await session.rows("SELECT nothing_of_this_name FROM projects")

    with pytest.raises((sqlite3.OperationalError, asyncpg.UndefinedColumnError)):
        lab.run(lab.database.transactions.run(work))
    lab.create().add(1)

    assert len(lab.lease("ada", 1)) == 1


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("user", "name"), [("nobody_of_this_name", "postgres"), ("postgres", "none")]
)
def test_a_server_that_lets_nobody_in_is_unavailable(
    postgres_dsn: str, user: str, name: str, run: Run[Any]
) -> None:
    server = postgres_dsn.rpartition("@")[2].partition("/")[0]
    database = Database(f"postgresql://{user}@{server}/{name}")

    async def read() -> None:
        async with database.read():
            pass

    with pytest.raises(Unavailable):
        run(database.transactions.run(nothing))
    with pytest.raises(Unavailable):
        run(read())
    run(database.close())


def test_a_server_that_accepts_and_stays_silent_is_unavailable_soon(run: Run[Any]) -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Until the other side gives up.
        while await reader.read(1024):
            pass
        writer.close()

    async def lease(database: Database) -> None:
        await database.transactions.run(nothing)

    async def read(database: Database) -> None:
        async with database.read():
            pass

    async def scenario() -> list[object]:
        server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        database = Database(f"postgresql://postgres@127.0.0.1:{port}/labels")
        async with server, asyncio.timeout(2 * CONNECT_SECONDS):
            outcomes = await asyncio.gather(lease(database), read(database), return_exceptions=True)
            await database.close()
        return [type(each) for each in outcomes]

    assert run(scenario()) == [Unavailable, Unavailable]


@pytest.mark.postgres
def test_counting_goes_on_once_a_login_is_no_longer_refused(
    postgres_database: str, run: Run[Any], tmp_path: Path
) -> None:
    role = f"service_{uuid4().hex}"
    server = postgres_database.rpartition("@")[2]
    service = build(
        LabelsConfig(
            database=f"postgresql://{role}@{server}",
            statistics_seconds=0.1,
            store_uri=tmp_path.as_uri(),
        )
    )

    async def scenario() -> list[bool]:
        admin = await asyncpg.connect(postgres_database)
        await admin.execute(f"CREATE ROLE {role} LOGIN")
        await admin.execute(f"ALTER DATABASE {server.rpartition('/')[2]} OWNER TO {role}")
        await service.start()
        seen = [service.ready()]
        await admin.execute(f"ALTER ROLE {role} NOLOGIN")
        await admin.fetch(CUT_ALL)
        seen.append(await _becomes(service.ready, False))
        await admin.execute(f"ALTER ROLE {role} LOGIN")
        seen.append(await _becomes(service.ready, True))
        await service.stop()
        await admin.close()
        return seen

    assert run(scenario()) == [True, False, True]


async def nothing(_session: Session) -> None:
    return None


async def _becomes(ask: Callable[[], bool], wanted: bool, *, seconds: float = 10) -> bool:
    """Return what `ask` says once it is as `wanted`, or in the end."""
    for _ in range(round(seconds / 0.05)):
        if ask() is wanted:
            break
        await asyncio.sleep(0.05)
    return ask()
