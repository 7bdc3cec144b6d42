"""Who may read the file of an SQLite database, and what SQLite lays beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from parfocal_runtime.database import Database
from parfocal_runtime.errors import Unavailable


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def through_the_engine(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE made (x)"))


async def through_transactions(database: Database) -> None:
    async def make(session: Any) -> None:
        await session.run("CREATE TABLE made (x)")

    await database.transactions.run(make)


async def from_all_sides(database: Database) -> None:
    async def look() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))

    await asyncio.gather(look(), look(), through_transactions(database), look())


def using(file: Path, use: Callable[[Database], Awaitable[object]]) -> dict[str, int]:
    """Return the modes of the files as they are while the database is open."""

    async def go() -> dict[str, int]:
        database = Database(f"sqlite:///{file}")
        try:
            await use(database)
            return modes(file.parent)
        finally:
            await database.close()

    return asyncio.run(go())


@pytest.mark.parametrize("use", [through_the_engine, through_transactions, from_all_sides])
def test_a_new_database_is_for_its_owner_with_all_that_lies_beside_it(
    tmp_path: Path, use: Callable[[Database], Awaitable[object]]
) -> None:
    found = using(tmp_path / "new.sqlite", use)

    assert found == dict.fromkeys(("new.sqlite", "new.sqlite-wal", "new.sqlite-shm"), 0o600)


def test_a_database_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE before (x)")
    connection.close()
    file.chmod(0o640)

    found = using(file, through_the_engine)

    assert found == dict.fromkeys(("old.sqlite", "old.sqlite-wal", "old.sqlite-shm"), 0o640)


def test_a_database_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        using(tmp_path / "none" / "new.sqlite", through_transactions)

    assert list(tmp_path.iterdir()) == []
