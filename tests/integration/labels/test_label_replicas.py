"""Several processes of the store over one PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from parfocal_labels.answers import TRUE
from parfocal_labels.records import LabelEvent, Vote
from parfocal_labels.store import LabelStore
from parfocal_runtime.database import Database

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("dsn", ["postgresql"], indirect=True),
]

NEVER = 3600.0
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_watcher_hears_at_once_what_another_replica_writes(
    lab: Lab, dsn: str, interrupted: bool
) -> None:
    lab.create().add(1)
    database = Database(dsn)
    watching = LabelStore(database, lab.objects, clock=lab.clock, poll_seconds=NEVER)

    async def first_event() -> LabelEvent:
        return await anext(watching.watch_labels("vnc"))

    async def scenario() -> LabelEvent:
        server = await asyncpg.connect(dsn)
        listening = asyncio.create_task(watching.listen())
        listener = await new_listener(server)
        watcher = asyncio.create_task(first_event())
        if interrupted:
            await server.fetch("SELECT pg_terminate_backend($1)", listener)
            await new_listener(server, other_than=listener)
        [lease] = await lab.store.lease_queries("vnc", "ada", count=1, ttl=lab.clock.minute)
        votes = [Vote(lease.query.id, TRUE)]
        await lab.store.submit_labels("vnc", "ada", votes, request_id="1")
        event = await asyncio.wait_for(watcher, 20)
        listening.cancel()
        await asyncio.wait((listening,))
        await server.close()
        await database.close()
        return event

    assert lab.run(scenario()).sequence == 1


async def new_listener(server: asyncpg.Connection, *, other_than: int = 0) -> int:
    while True:
        for row in await server.fetch(LISTENERS):
            if row["pid"] != other_than:
                return int(row["pid"])
        await asyncio.sleep(0.02)
