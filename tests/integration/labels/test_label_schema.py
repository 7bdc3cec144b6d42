from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from explaining import Explaining
from parfocal_labels.migrate import VERSION_TABLE, migrate
from parfocal_labels.records import QuerySpec
from parfocal_labels.schema import metadata
from parfocal_labels.statements import Place, Statements
from parfocal_runtime.database import Database
from parfocal_runtime.transactions import Session

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab, Run


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    address: str = request.getfixturevalue("postgres_database")
    return address


async def indexes(database: Database) -> set[str]:
    catalogue = (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
        if database.is_postgresql
        else "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    )
    async with database.read() as connection:
        rows = (await connection.execute(text(catalogue))).scalars()
        return {" ".join(row.split()) for row in rows if VERSION_TABLE not in row}


def test_migrations_lead_from_nothing_to_the_schema(empty_dsn: str, run: Run[Any]) -> None:
    async def differences() -> list[Any]:
        database = Database(empty_dsn)
        await migrate(database)
        async with database.read() as connection:
            found: list[Any] = await connection.run_sync(_differences)
        await database.close()
        return found

    assert run(differences()) == []


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "version_table": VERSION_TABLE}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_migrations_make_the_indexes_of_the_schema(empty_dsn: str, run: Run[Any]) -> None:
    async def both() -> tuple[set[str], set[str]]:
        database = Database(empty_dsn)
        await migrate(database)
        migrated = await indexes(database)
        async with database.write() as connection:
            await connection.run_sync(metadata.drop_all)
            await connection.run_sync(metadata.create_all)
        made = await indexes(database)
        await database.close()
        return migrated, made

    migrated, made = run(both())

    assert migrated == made
    assert any("WHERE" in each for each in made)


def test_processes_that_start_together_migrate_once(empty_dsn: str, run: Run[Any]) -> None:
    async def start() -> None:
        databases = [Database(empty_dsn) for _ in range(4)]
        await asyncio.gather(*map(migrate, databases))
        for database in databases:
            await database.close()

    run(start())


def test_a_database_at_the_present_schema_stays_as_it_is(lab: Lab) -> None:
    lab.create().add(1)

    lab.run(migrate(lab.database))

    assert len(lab.lease("ada", 1)) == 1


@pytest.mark.parametrize("round_", ["", "r3"])
@pytest.mark.parametrize(("after", "annotator"), [(None, ""), ((0, 7, 8), ""), ((0, 7, 8), "ada")])
def test_the_next_queries_are_a_range_of_an_index(
    lab: Lab, round_: str, after: Place | None, annotator: str
) -> None:
    lab.create()
    for number in range(5):
        specs = [QuerySpec(f"r{number}", "set", rank, rank) for rank in range(2000)]
        lab.run(lab.store.add_queries("vnc", specs, caller="loop"))

    plans = lab.run(explained(lab.database, round_=round_, after=after, annotator=annotator))

    assert len(plans) == (2 if after else 1)
    for plan in plans:
        # Inside one priority of a round the order of the listing is the queue's too.
        assert "ix_standings_open" in plan or (after and round_ and "ix_queries_list" in plan)
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


async def explained(
    database: Database, *, round_: str, after: Place | None, annotator: str
) -> list[str]:
    async def work(session: Session) -> list[str]:
        if session.is_postgresql:
            await session.run("ANALYZE")
        explaining = Explaining(session)
        await Statements(explaining).open_queries(
            1, round_=round_, skill="", after=after, count=20, annotator=annotator
        )
        return explaining.plans

    return await database.transactions.run(work)
