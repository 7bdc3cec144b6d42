"""The database: SQLite in one file, or PostgreSQL by its address.

SQLite is written through one connection, so that writers queue in order instead of polling a
busy file, and read through others (write-ahead log, `synchronous=FULL`: what is acknowledged
is on disk).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from parfocal_runtime.errors import InvalidInput, Unavailable
from parfocal_runtime.sqlite_settings import BUSY_SECONDS, make_private, set_up
from parfocal_runtime.tasks import finished
from parfocal_runtime.transactions import (
    CONNECT_SECONDS,
    DRIVER_ERRORS,
    PASSING_STATES,
    PostgresqlTransactions,
    SqliteTransactions,
    Transactions,
    may_pass,
)

_READERS = 4


class Database:
    """Transactions on one database.

    Attributes:
        url: Address with the driver in it.
        is_postgresql: Whether rows are locked one by one; otherwise one writer holds them all.
        transactions: Transactions in the driver's own words.
    """

    def __init__(self, dsn: str, *, pool_size: int = 8) -> None:
        """Prepare engines; nothing is opened yet.

        Args:
            dsn: `sqlite:///path` or `postgresql://user@host:port/name`.
            pool_size: Connections to PostgreSQL at most.
        """
        self.url = _with_driver(dsn)
        self.is_postgresql = self.url.get_backend_name() == "postgresql"
        self._writing = asyncio.Lock()
        if self.is_postgresql:
            self._writer = self._reader = create_async_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=0,
                pool_pre_ping=True,
                connect_args={"timeout": CONNECT_SECONDS},
            )
            self.transactions: Transactions = PostgresqlTransactions(self.url)
        else:
            self._writer = _sqlite_engine(self.url, connections=1, begin="BEGIN IMMEDIATE")
            self._reader = _sqlite_engine(self.url, connections=_READERS, begin="BEGIN")
            self.transactions = SqliteTransactions(str(self.url.database), turn=self._writing)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; it commits when the block ends without an error.

        Raises:
            Unavailable: If the database does not answer
                (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`); what was written may then be there or
                not, and asking again with the same request id tells.
        """
        turn = nullcontext() if self.is_postgresql else self._writing
        async with (
            turn,
            _available(),
            _opened(self._writer) as connection,
            _begun(connection),
        ):
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database from beginning to end.

        Raises:
            Unavailable: If the database does not answer
                (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
        """
        async with _available(), _opened(self._reader) as connection:
            if self.is_postgresql:
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            async with _begun(connection):
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self.transactions.close()
        await self._writer.dispose()
        await self._reader.dispose()


async def migrate(database: Database, folder: Path, *, version_table: str) -> None:
    """Apply the Alembic steps that `database` lacks, all or none, one process at a time.

    Args:
        database: What to bring to the present schema.
        folder: The service's `migrations` folder.
        version_table: The service's own table of applied steps; services may share a database.
    """

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with database.write() as connection:
        if database.is_postgresql:
            lock = {"key": zlib.crc32(version_table.encode())}
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), lock)
        await connection.run_sync(upgrade)


def insert_new(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that passes over rows whose key is taken."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


class _Connection(AsyncConnection):
    """A connection whose statements are finished, also when the caller is cancelled meanwhile.

    A driver that is stopped in the middle of a statement leaves a connection that nobody can
    use, and on SQLite the lock that it holds.
    """

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await finished(super().execute(*args, **kwargs))

    async def run_sync(self, *args: Any, **kwargs: Any) -> Any:
        return await finished(super().run_sync(*args, **kwargs))


@asynccontextmanager
async def _opened(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = await _Connection(engine).start()
    try:
        yield connection
    finally:
        await finished(connection.close())


@asynccontextmanager
async def _begun(connection: AsyncConnection) -> AsyncIterator[None]:
    transaction = connection.begin()
    await finished(transaction.start())
    try:
        yield
    except BaseException:
        await finished(transaction.rollback())
        raise
    await finished(transaction.commit())


@asynccontextmanager
async def _available() -> AsyncIterator[None]:
    try:
        yield
    # What goes wrong in connecting comes as the driver says it.
    except (*DRIVER_ERRORS, PoolTimeout, DBAPIError) as error:
        if not _may_pass(error):
            raise
        raise Unavailable(
            "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
            "the database does not answer; try again",
            service="database",
        ) from error


def _may_pass(error: Exception) -> bool:
    """Return whether the same statement may work later."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return may_pass(error)
    if error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
        return True
    return str(getattr(error.orig, "sqlstate", None))[:2] in PASSING_STATES


def _with_driver(dsn: str) -> URL:
    try:
        url = make_url(dsn)
    except ArgumentError:
        url = None
    if url is not None and url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+asyncpg")
    if url is not None and url.get_backend_name() == "sqlite" and url.database:
        return url.set(drivername="sqlite+aiosqlite")
    raise InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        "the database must be sqlite:///PATH or postgresql://USER@HOST:PORT/NAME",
        field="database",
    )


def _sqlite_engine(url: URL, *, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make(_dialect: object, _record: object, arguments: Any, _options: object) -> None:
        make_private(arguments[0])

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        set_up(cursor.execute)
        cursor.close()

    # The driver would begin only before the first write, and then deferred.
    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
