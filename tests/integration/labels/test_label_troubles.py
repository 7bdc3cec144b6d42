"""What the store does when callers go away and the database falters."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from parfocal_labels.answers import TRUE
from parfocal_labels.records import Vote
from parfocal_runtime.database import Database
from parfocal_runtime.errors import Unavailable

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab, Run

CALLERS = 40


async def after_what_has_begun(lab: Lab) -> None:
    """Ask last: a batch that has begun runs to its end, and leases last from when it does."""
    await lab.store.lease_queries("vnc", "last", count=1, ttl=lab.clock.minute)


def test_callers_who_go_away_leave_nothing_half_done(lab: Lab) -> None:
    lab.create().add(400)
    random = Random(0)

    async def annotate(name: str) -> None:
        for number in range(5):
            leases = await lab.store.lease_queries("vnc", name, count=2, ttl=lab.clock.minute)
            votes = [Vote(lease.query.id, TRUE) for lease in leases]
            await lab.store.submit_labels("vnc", name, votes, request_id=str(number))

    async def go_away() -> None:
        for number in range(CALLERS):
            task = asyncio.create_task(annotate(f"a{number}"))
            for _ in range(random.randrange(1, 200)):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await after_what_has_begun(lab)

    lab.run(go_away())
    lab.clock.advance(60)

    events = lab.events()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    progress = lab.run(lab.store.progress("vnc"))
    assert progress.decided == progress.labels == len(events)
    assert len(lab.lease("bob", 1000)) == 400 - len(events)


def test_many_callers_who_go_away_at_once_do_not_block_the_next(lab: Lab) -> None:
    lab.create().add(50)

    async def rush() -> None:
        tasks = [
            asyncio.create_task(
                lab.store.lease_queries("vnc", f"a{n}", count=1, ttl=lab.clock.minute)
            )
            for n in range(30)
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await after_what_has_begun(lab)

    lab.run(rush())
    lab.clock.advance(60)

    assert len(lab.lease("bob", 100)) == 50


@pytest.mark.parametrize(
    "address", ["postgresql://postgres@127.0.0.1:1/none", "sqlite:////nowhere/labels.db"]
)
def test_a_database_that_does_not_answer_is_unavailable(address: str, run: Run[Any]) -> None:
    before = threading.enumerate()

    async def read() -> None:
        database = Database(address)
        try:
            async with database.read() as connection:
                await connection.execute(text("SELECT 1"))
        finally:
            await database.close()
            # The driver's thread still tells the loop that it could not connect.
            for thread in threading.enumerate():
                if thread not in before and "_connection_worker_thread" in thread.name:
                    await asyncio.to_thread(thread.join, 10)

    with pytest.raises(Unavailable) as caught:
        run(read())

    assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


@pytest.mark.postgres
def test_a_connection_that_breaks_is_unavailable_and_then_replaced(
    postgres_template: str, run: Run[Any]
) -> None:
    database = Database(postgres_template)

    async def break_it() -> None:
        async with database.write() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async def go_on() -> object:
        async with database.write() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar_one()

    with pytest.raises(Unavailable):
        run(break_it())
    assert run(go_on()) == 1
    run(database.close())


def test_what_a_transaction_did_is_gone_when_it_fails(tmp_path: Path, run: Run[Any]) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")

    async def scenario() -> int:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE t (x INTEGER)"))
        with suppress(ZeroDivisionError):
            async with database.write() as connection:
                await connection.execute(text("INSERT INTO t VALUES (1)"))
                raise ZeroDivisionError
        async with database.read() as connection:
            return int((await connection.execute(text("SELECT count(*) FROM t"))).scalar_one())

    assert run(scenario()) == 0
    run(database.close())
