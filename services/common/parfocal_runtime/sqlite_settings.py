"""How every connection to an SQLite database is set up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

BUSY_SECONDS = 30
"""How long a statement waits for another process that writes."""

_SETTINGS = ("synchronous=FULL", "foreign_keys=ON")
_PAUSE_SECONDS = 0.01


def set_up(execute: Callable[[str], object]) -> None:
    """Set up a new connection; what it acknowledges is on disk.

    Args:
        execute: Runs a statement on it.

    Raises:
        sqlite3.OperationalError: If the database is busy for longer than `BUSY_SECONDS`.
    """
    _write_ahead(execute)
    for setting in _SETTINGS:
        execute(f"PRAGMA {setting}")


def _write_ahead(execute: Callable[[str], object]) -> None:
    # A new database is switched by whoever comes first. SQLite tells those who come in the same
    # moment that it is busy, however long they said that they would wait.
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)
