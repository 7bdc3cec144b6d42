"""Transactions in the driver's own words, for statements that run thousands of times a second.

SQLAlchemy Core costs two to three times the statement itself there; everything else goes
through `parfocal_runtime.database`. Work is written once, as a coroutine on a `Session`. On
PostgreSQL it runs on the event loop; on SQLite it runs to its end in the one thread that writes,
where nothing it awaits ever waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import asyncpg
from sqlalchemy.engine import URL

from parfocal_runtime.errors import Unavailable
from parfocal_runtime.sqlite_settings import BUSY_SECONDS, make_private, set_up
from parfocal_runtime.tasks import finished

T = TypeVar("T")


class Row(Protocol):
    """A row as the driver gives it."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Give the values in the order of the columns."""
        ...


# The last one is what the driver says where a connection is cut in the middle of a message.
DRIVER_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

CONNECT_SECONDS = 5.0
"""How long a PostgreSQL may take to let a connection in."""

_CONNECTIONS = 4
_ATTEMPTS = 3
# No statement here takes a second; one that takes this long has lost its server.
_PATIENCE_SECONDS = 30.0
# Classes of SQLSTATE that tell of a trouble of the server, not of a statement: connection lost,
# login refused, no such database, transaction rolled back (deadlock), out of resources, stopped by
# an operator.
PASSING_STATES = frozenset({"08", "28", "3D", "40", "53", "57"})
# Every statement here walks an index. The planner, which sees neither the limit nor how many
# rows a parameter finds, would now and then read and sort ten million rows instead; and where
# there is one way to go, planning it anew for each set of parameters only costs.
_SETTINGS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Session(Protocol):
    """An open transaction. Parameters are `$1`, `$2`, ... on PostgreSQL and `?` on SQLite."""

    @property
    def is_postgresql(self) -> bool:
        """Whether statements are PostgreSQL's; otherwise they are SQLite's."""
        ...

    async def rows(self, statement: str, *parameters: object) -> Sequence[Row]:
        """Run a statement and return its rows, whose values are found by column."""
        ...

    async def run(self, statement: str, *parameters: object) -> None:
        """Run a statement."""
        ...

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of parameters."""
        ...


Work = Callable[[Session], Coroutine[Any, Any, T]]


class Transactions(Protocol):
    """Runs work in transactions on one database."""

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL, which works beside this process; otherwise it is SQLite."""
        ...

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction that commits when it returns.

        Work may run again where the connection was lost, also when nobody knows whether the
        first time was committed; it must bear that.

        Raises:
            Unavailable: If the database does not answer
                (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class PostgresqlTransactions:
    """Transactions through a small pool of asyncpg connections."""

    is_postgresql = True

    def __init__(self, url: URL) -> None:
        """Prepare; nothing is opened yet."""
        self._options = {**url.translate_connect_args(username="user"), **url.query}
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction that commits when it returns; see `Transactions`."""
        return await finished(self._run(work))

    async def _run(self, work: Work[T]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                pool = await self._opened()
                async with _acquired(pool) as connection, _transaction(connection):
                    return await work(_PostgresqlSession(connection))
            except DRIVER_ERRORS as error:
                if not may_pass(error):
                    raise
                if attempt == _ATTEMPTS:
                    raise _unavailable() from error
                if self._pool is not None:
                    await self._pool.expire_connections()
        raise AssertionError("the last attempt returns or raises")

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    **self._options,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    server_settings=_SETTINGS,
                    timeout=CONNECT_SECONDS,
                    command_timeout=_PATIENCE_SECONDS,
                    # There is nothing to reset: a session leaves nothing behind.
                    reset=_nothing,
                )
            return self._pool

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


@asynccontextmanager
async def _acquired(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await pool.acquire()
    except TimeoutError as error:
        # Whoever takes a connection and stays silent does so again.
        raise _unavailable() from error
    try:
        yield connection
    finally:
        await pool.release(connection)


@asynccontextmanager
async def _transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN")
    try:
        yield
        await connection.execute("COMMIT")
    except BaseException:
        try:
            await connection.execute("ROLLBACK", timeout=_PATIENCE_SECONDS)
        except DRIVER_ERRORS:
            # Cut in the middle of a statement it cannot even be told to roll back.
            connection.terminate()
        raise


async def _nothing(_connection: object) -> None:
    return None


class _PostgresqlSession:
    is_postgresql = True

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def rows(self, statement: str, *parameters: object) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(statement, *parameters)
        return rows

    async def run(self, statement: str, *parameters: object) -> None:
        await self._connection.execute(statement, *parameters)

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._connection.executemany(statement, rows)


class SqliteTransactions:
    """Transactions through one connection in one thread: SQLite has one writer."""

    is_postgresql = False

    def __init__(self, path: str, *, turn: asyncio.Lock) -> None:
        """Prepare; nothing is opened yet.

        Args:
            path: The database file.
            turn: Held while a transaction is open; whoever else writes to the file in this
                process holds it too, so that nobody polls a busy file.
        """
        self._path = path
        self._turn = turn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction that commits when it returns; see `Transactions`."""
        return await finished(self._run(work))

    async def _run(self, work: Work[T]) -> T:
        async with self._turn:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Work[T]) -> T:
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = _result_of(work(_SqliteSession(connection)))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result
        except sqlite3.OperationalError as error:
            # SQLite says the same of a busy file, a full disk and a statement that is wrong.
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                raise
            raise _unavailable() from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            make_private(self._path)
            connection = sqlite3.connect(
                self._path,
                isolation_level=None,
                timeout=BUSY_SECONDS,
                cached_statements=256,
                check_same_thread=False,
            )
            connection.row_factory = sqlite3.Row
            set_up(connection.execute)
            self._connection = connection
        return self._connection

    async def close(self) -> None:
        """Close the connection."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _SqliteSession:
    is_postgresql = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, statement: str, *parameters: object) -> Sequence[Row]:
        rows: Sequence[Any] = self._connection.execute(statement, parameters).fetchall()
        return rows

    async def run(self, statement: str, *parameters: object) -> None:
        self._connection.execute(statement, parameters)

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        self._connection.executemany(statement, rows)


def _result_of(work: Awaitable[T]) -> T:
    """Return what `work` comes to, which never has to wait for anything."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("work on SQLite waited for something else than the database")


def may_pass(error: BaseException) -> bool:
    """Return whether the same work may succeed later, where the driver failed with `error`."""
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        # The driver complains in the same words about parameters that do not fit.
        return not isinstance(error, ValueError)
    return str(getattr(error, "sqlstate", None))[:2] in PASSING_STATES


def _unavailable() -> Unavailable:
    return Unavailable(
        "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
        "the database does not answer; try again",
        service="database",
    )
