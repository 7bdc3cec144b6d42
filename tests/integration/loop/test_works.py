from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

import parfocal_loop
from parfocal_loop.schema import METADATA, VERSION_TABLE
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.database import Database, migrate
from parfocal_runtime.errors import AlreadyExists, Conflict, NotFound, WrongState

MIGRATIONS = Path(parfocal_loop.__file__).parent / "migrations"
KEY = WorkKey("p", "round", "r1")


class Clock:
    """A clock that the test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(dsn: str, clock: Clock) -> AsyncIterator[WorkStore]:
    database = Database(dsn)
    await migrate(database, MIGRATIONS, version_table=VERSION_TABLE)
    try:
        yield WorkStore(database, clock=clock)
    finally:
        await database.close()


def run(dsn: str, test: Callable[[WorkStore, Clock], Awaitable[None]]) -> None:
    async def with_store() -> None:
        clock = Clock()
        async with opened(dsn, clock) as works:
            await test(works, clock)

    asyncio.run(with_store())


def test_the_same_work_is_created_once(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        first = await works.create(KEY, spec=b"wanted", status=b"")
        clock.now += 1
        again = await works.create(KEY, spec=b"wanted", status=b"other")

        assert again == first
        assert again.create_time == 1000.0

    run(dsn, test)


def test_another_work_under_the_same_name_is_refused(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"wanted", status=b"")

        with pytest.raises(AlreadyExists) as caught:
            await works.create(KEY, spec=b"something else", status=b"")
        assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"

    run(dsn, test)


def test_two_controllers_never_claim_the_same_work(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        keys = [WorkKey("p", "round", f"r{number}") for number in range(20)]
        for key in keys:
            await works.create(key, spec=b"", status=b"")

        claims = await asyncio.gather(*(works.claim(f"c{n}", seconds=10) for n in range(4)))

        taken = [work.key for claim in claims for work in claim]
        assert sorted(taken) == sorted(keys)

    run(dsn, test)


def test_a_claim_that_is_not_renewed_passes_to_another_controller(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"", status=b"")
        await works.claim("dead", seconds=10)
        assert await works.claim("alive", seconds=10) == []
        clock.now += 11

        claimed = await works.claim("alive", seconds=10)

        assert [work.key for work in claimed] == [KEY]
        with pytest.raises(Conflict):
            await works.save(KEY, "dead", status=b"late", finished=True)
        assert (await works.get(KEY)).status == b""

    run(dsn, test)


def test_a_renewed_claim_holds(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"", status=b"")
        await works.claim("mine", seconds=10)
        clock.now += 8
        assert await works.renew("mine", seconds=10) == {KEY: False}
        clock.now += 8

        assert await works.claim("other", seconds=10) == []

    run(dsn, test)


def test_a_released_claim_is_free_at_once(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"", status=b"")
        await works.claim("mine", seconds=10)
        await works.release("mine")

        assert [work.key for work in await works.claim("other", seconds=10)] == [KEY]

    run(dsn, test)


def test_finished_work_is_not_claimed_and_cannot_be_cancelled(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"", status=b"")
        await works.claim("mine", seconds=10)
        await works.save(KEY, "mine", status=b"done", finished=True)
        clock.now += 100

        assert await works.claim("other", seconds=10) == []
        with pytest.raises(WrongState) as caught:
            await works.request_cancel(KEY)
        assert caught.value.reason == "ERROR_REASON_WORK_FINISHED"

    run(dsn, test)


def test_every_change_raises_the_revision(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        created = await works.create(KEY, spec=b"", status=b"")
        await works.claim("mine", seconds=10)
        await works.save(KEY, "mine", status=b"half", finished=False)
        saved = await works.get(KEY)
        cancelled = await works.request_cancel(KEY)

        assert created.revision < saved.revision < cancelled.revision
        assert await works.renew("mine", seconds=10) == {KEY: True}

    run(dsn, test)


def test_pages_go_from_new_to_old_without_gaps(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        for number in range(7):
            clock.now = 1000.0 + number // 2
            await works.create(WorkKey("p", "job", f"j{number}"), spec=b"", status=b"")
        await works.create(WorkKey("p", "round", "other-kind"), spec=b"", status=b"")
        await works.create(WorkKey("q", "job", "other-project"), spec=b"", status=b"")

        seen: list[str] = []
        before = None
        while page := await works.page("p", "job", limit=2, before=before):
            seen += [work.key.id for work in page]
            before = (page[-1].create_time, page[-1].key.id)

        assert seen == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]

    run(dsn, test)


def test_unknown_work_is_not_found(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        with pytest.raises(NotFound) as caught:
            await works.get(KEY)
        assert caught.value.reason == "ERROR_REASON_WORK_NOT_FOUND"

    run(dsn, test)


def test_the_migrations_make_the_schema(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        database = Database(dsn)
        async with database.read() as connection:
            made = await connection.run_sync(described)
        await database.close()

        wanted = METADATA.tables["work"]
        assert made["columns"] == {column.name: column.nullable for column in wanted.columns}
        assert made["indexes"] == {index.name for index in wanted.indexes}
        assert made["key"] == [column.name for column in wanted.primary_key]

    run(dsn, test)


def described(connection: Connection) -> dict[str, object]:
    inspector = inspect(connection)
    return {
        "columns": {one["name"]: one["nullable"] for one in inspector.get_columns("work")},
        "indexes": {one["name"] for one in inspector.get_indexes("work")},
        "key": inspector.get_pk_constraint("work")["constrained_columns"],
    }


def test_what_is_over_can_be_opened_again_by_whoever_saw_it_last(dsn: str) -> None:
    async def test(works: WorkStore, clock: Clock) -> None:
        await works.create(KEY, spec=b"wanted", status=b"")
        await works.request_cancel(KEY)
        await works.claim("one", seconds=60)
        await works.save(KEY, "one", status=b"ended", finished=True)
        seen = await works.get(KEY)

        opened_again = await works.reopen(seen, status=b"anew")
        with pytest.raises(Conflict):
            await works.reopen(seen, status=b"late")

        assert (opened_again.status, opened_again.finished) == (b"anew", False)
        assert not opened_again.cancel_requested
        # Nobody is at it, although the claim of the last one has not run out.
        assert [work.key for work in await works.claim("two", seconds=60)] == [KEY]

    run(dsn, test)
