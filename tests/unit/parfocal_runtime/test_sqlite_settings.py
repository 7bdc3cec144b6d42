from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from parfocal_runtime import sqlite_settings
from parfocal_runtime.sqlite_settings import set_up


def connected(path: Path) -> sqlite3.Connection:
    # Told at once that the database is busy, as SQLite does when the journal is switched.
    return sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)


def test_whoever_comes_while_another_holds_a_new_database_waits(tmp_path: Path) -> None:
    holder, comer = (connected(tmp_path / "new.db") for _ in range(2))
    holder.execute("BEGIN EXCLUSIVE")
    tried = threading.Event()

    def execute(statement: str) -> object:
        tried.set()
        return comer.execute(statement)

    thread = threading.Thread(target=set_up, args=(execute,))
    thread.start()
    assert tried.wait(10)
    holder.execute("COMMIT")
    thread.join()

    assert comer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert comer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert comer.execute("PRAGMA foreign_keys").fetchone() == (1,)
    holder.close()
    comer.close()


def test_a_database_that_stays_busy_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_settings, "BUSY_SECONDS", 0.05)
    holder, comer = (connected(tmp_path / "new.db") for _ in range(2))
    holder.execute("BEGIN EXCLUSIVE")

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        set_up(comer.execute)
    holder.close()
    comer.close()


def test_another_fault_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, whatever its name says" * 30)
    comer = connected(tmp_path / "text.db")

    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        set_up(comer.execute)
    comer.close()
