"""How every connection to an SQLite database is set up."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress

BUSY_SECONDS = 30
"""How long a statement waits for another process that writes."""

_SETTINGS = ("synchronous=FULL", "foreign_keys=ON")
_PAUSE_SECONDS = 0.01
_making = threading.Lock()


def make_private(path: str | os.PathLike[str]) -> None:
    """Make the file of a database that is new; only its owner may read it.

    What SQLite lays beside it has the same mode. A file that is there keeps its own. What goes
    wrong is for SQLite to say.

    Args:
        path: The file that is about to be connected to.
    """
    # Closing a file takes away every lock that this process has on it, so nobody may have
    # connected to it by then.
    with _making, suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


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
