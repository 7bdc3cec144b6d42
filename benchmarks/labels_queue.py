"""A queue of any length for `labels.py`, and how it becomes as before after a run."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from parfocal_labels.answers import TaskKind
from parfocal_labels.migrate import migrate
from parfocal_labels.projects import create_project
from parfocal_labels.records import Rules
from parfocal_runtime.database import Database

PROJECT = "benchmark"
_COLUMNS = (
    "project_id, round, candidate_set, candidate, rank, priority, role, strategy, reason,"
    " model_name, model_version, image, box, patches, create_time"
)
_VALUES = (
    "1, 'r1', 'r1', n, n, 0, 'strategy', 'two-stream',"
    ' \'{"cell": 17, "cell_size": 64, "distance": 1.25}\', \'base\', 3,'
    " 'projects/benchmark/images/stack.ome.zarr', '[0, 64, 128, 12, 192, 256]',"
    " 'projects/benchmark/candidates/r1/patches.zarr', 0"
)
_NUMBERS = {
    "postgresql": "generate_series(0, {last}) AS n",
    "sqlite": (
        "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last})"
        " SELECT n FROM s)"
    ),
}


async def fill(dsn: str, size: int) -> None:
    """Make the schema, a project and `size` open queries."""
    database = Database(dsn)
    await migrate(database)
    engine = "postgresql" if database.is_postgresql else "sqlite"
    async with database.write() as connection:
        await create_project(
            connection,
            PROJECT,
            display_name="",
            rules=Rules(TaskKind.VERIFY),
            now=datetime.now(UTC),
        )
        numbers = _NUMBERS[engine].format(last=size - 1)
        statement = f"INSERT INTO queries ({_COLUMNS}) SELECT {_VALUES} FROM {numbers}"
        await connection.execute(text(statement.replace(":", "\\:")))
        await connection.execute(
            text(
                "INSERT INTO standings SELECT id, project_id, round, skill, priority, rank, 'open',"
                " 0, 0, 0, create_time FROM queries"
            )
        )
    await _settle(database)
    await database.close()


async def restore(dsn: str) -> None:
    """Make the queue as it was before a run."""
    database = Database(dsn)
    async with database.write() as connection:
        for statement in (
            "DELETE FROM submissions",
            "UPDATE standings SET state = 'open', votes = 0, leases = 0 WHERE query_id IN"
            " (SELECT query_id FROM label_events UNION SELECT query_id FROM leases)",
            "DELETE FROM leases",
            "DELETE FROM label_events",
            "UPDATE projects SET last_sequence = 0",
        ):
            await connection.execute(text(statement))
    await _settle(database)
    await database.close()


async def _settle(database: Database) -> None:
    """Tidy up, so that no run pays for the one before it."""
    if not database.is_postgresql:
        return
    import asyncpg

    connection = await asyncpg.connect(
        str(database.url.set(drivername="postgresql").render_as_string(hide_password=False))
    )
    for table in ("queries", "standings", "leases", "label_events", "submissions", "projects"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    await connection.execute("CHECKPOINT")
    await connection.close()
