"""The database of the label service, looked at from beside it and put back to what it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from parfocal_labels.schema import metadata

TABLES = [table.name for table in metadata.sorted_tables]


class Engine(Protocol):
    """A database that can be looked at from beside the service, and put back to its seed."""

    dsn: str

    def keep_seed(self) -> None: ...

    def put_back(self) -> None: ...

    def digest(self) -> object: ...

    def close(self) -> None: ...


def restoring(seed: str) -> str:
    empty = [f"DELETE FROM {table};" for table in reversed(TABLES)]
    fill = [f"INSERT INTO {table} SELECT * FROM {seed}.{table};" for table in TABLES]
    return "".join(["BEGIN;", *empty, *fill, "COMMIT;"])


class Sqlite:
    def __init__(self, file: Path) -> None:
        self.dsn = f"sqlite:///{file}"
        self._file, self._seed = file, file.with_name("seed.db")

    def keep_seed(self) -> None:
        with (
            closing(sqlite3.connect(self._file)) as live,
            closing(sqlite3.connect(self._seed)) as seed,
        ):
            live.backup(seed)
        self._beside = sqlite3.connect(self._file, isolation_level=None)
        self._beside.execute(f"ATTACH '{self._seed}' AS seed")

    def put_back(self) -> None:
        self._beside.executescript(restoring("seed"))

    def digest(self) -> object:
        tables = (self._beside.execute(f"SELECT * FROM main.{table}") for table in TABLES)
        return [sorted(map(repr, rows)) for rows in tables]

    def close(self) -> None:
        self._beside.close()


class Postgresql:
    def __init__(self, dsn: str, run: Callable[[Any], Any]) -> None:
        self.dsn, self._run = dsn, run
        self._beside = run(asyncpg.connect(dsn))

    def keep_seed(self) -> None:
        copies = [f"CREATE TABLE seed.{table} AS SELECT * FROM {table};" for table in TABLES]
        self._run(self._beside.execute("".join(["CREATE SCHEMA seed;", *copies])))

    def put_back(self) -> None:
        self._run(self._beside.execute(restoring("seed")))

    def digest(self) -> object:
        each = ", ".join(
            f"(SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t)"
            for table in TABLES
        )
        return tuple(self._run(self._beside.fetchrow(f"SELECT {each}")))

    def close(self) -> None:
        self._run(self._beside.execute("DROP SCHEMA seed CASCADE"))
        self._run(self._beside.close())
