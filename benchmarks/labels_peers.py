"""The same work as the label store's, call by call through the bare drivers.

Each peer leases 20 queries and turns 20 answers into labels with the same tables, the same locks
and the same rules for a project of one vote; it hands back rows and makes nothing of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import asyncpg
from labels_queue import PROJECT
from sqlalchemy import and_, delete, exists, insert, literal, select, update

from parfocal_labels.schema import (
    IS_OPEN,
    STANDING,
    WITH_STANDING,
    Instant,
    label_events,
    leases,
    projects,
    queries,
    standings,
    submissions,
)
from parfocal_runtime.database import Database, insert_new

COUNT = 20
TTL = timedelta(minutes=5)
_CONNECTIONS = 16


def _now() -> int:
    return time.time_ns() // 1000


def _until() -> int:
    return _now() + TTL // timedelta(microseconds=1)


def _content(ids: Sequence[int]) -> str:
    return hashlib.sha256(repr(ids).encode()).hexdigest()


_LEASE = """
WITH project AS (SELECT id FROM projects WHERE name = $1 FOR KEY SHARE),
next AS (
  SELECT s.query_id FROM standings s
  WHERE s.project_id = (SELECT id FROM project) AND s.skill = '' AND s.state = 'open'
    AND NOT EXISTS
      (SELECT 1 FROM leases l WHERE l.query_id = s.query_id AND l.annotator = $2)
    AND NOT EXISTS
      (SELECT 1 FROM label_events e WHERE e.query_id = s.query_id AND e.annotator = $2)
  ORDER BY s.priority DESC, s.rank, s.query_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED),
held AS (
  INSERT INTO leases (query_id, annotator, project_id, expire_time)
  SELECT next.query_id, $2, project.id, $4 FROM next, project)
UPDATE standings s SET leases = s.leases + 1,
  state = CASE WHEN s.votes + s.leases + 1 >= 1 THEN 'held' ELSE 'open' END
FROM next JOIN queries q ON q.id = next.query_id WHERE s.query_id = next.query_id RETURNING q.*
"""

_SUBMIT = """
WITH project AS (
  UPDATE projects SET last_sequence = last_sequence + $6 WHERE name = $1
  RETURNING id, last_sequence - $6 AS before),
asked AS (
  SELECT g.query_id, g.n FROM unnest($3::bigint[]) WITH ORDINALITY AS g(query_id, n)
  JOIN leases l ON l.query_id = g.query_id AND l.annotator = $2 AND l.expire_time > $5),
written AS (
  INSERT INTO label_events
    (project_id, sequence, query_id, annotator, verdict, seconds, client, create_time)
  SELECT project.id, project.before + asked.n, asked.query_id, $2, 'true', 1.5, 'benchmark/1', $5
  FROM asked, project),
ended AS (
  DELETE FROM leases l USING asked WHERE l.query_id = asked.query_id AND l.annotator = $2),
remembered AS (
  INSERT INTO submissions (project_id, caller, request_id, content_sha256, outcome, create_time)
  SELECT project.id, $2, $4, $7, $8::json, $5 FROM project)
UPDATE standings s SET votes = s.votes + 1, leases = s.leases - 1, state = 'decided'
FROM asked JOIN queries q ON q.id = asked.query_id
WHERE s.query_id = asked.query_id AND s.state <> 'decided' RETURNING q.*
"""


class Asyncpg:
    """One statement a call through asyncpg."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None

    async def _connected(self) -> Any:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS, reset=_nothing
            )
        return self._pool

    async def lease(self, annotator: str) -> list[int]:
        pool = await self._connected()
        rows = await pool.fetch(_LEASE, PROJECT, annotator, COUNT, _until())
        return [row["id"] for row in rows]

    async def submit(self, annotator: str, ids: Sequence[int], request_id: str) -> None:
        pool = await self._connected()
        outcome = json.dumps(list(ids))
        rows = await pool.fetch(
            _SUBMIT,
            PROJECT,
            annotator,
            list(ids),
            request_id,
            _now(),
            len(ids),
            _content(ids),
            outcome,
        )
        if len(rows) != len(ids):
            raise RuntimeError("a lease was lost")

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()


async def _nothing(_connection: object) -> None:
    return None


class SingleCommits:
    """One commit a call, through the one thread that writes to SQLite."""

    def __init__(self, dsn: str) -> None:
        self._path = dsn.removeprefix("sqlite:///")
        self._thread = ThreadPoolExecutor(1)
        self._connection: sqlite3.Connection | None = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
        return self._connection

    async def _run(self, work: Any, *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def lease(self, annotator: str) -> list[int]:
        ids: list[int] = await self._run(self._lease, annotator)
        return ids

    def _lease(self, annotator: str) -> list[int]:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        (project,) = connection.execute(
            "SELECT id FROM projects WHERE name = ?", (PROJECT,)
        ).fetchone()
        rows = connection.execute(
            "SELECT q.* FROM standings s CROSS JOIN queries q WHERE q.id = s.query_id"
            " AND s.project_id = ? AND s.skill = '' AND s.state = 'open'"
            " AND NOT EXISTS (SELECT 1 FROM leases l"
            " WHERE l.query_id = s.query_id AND l.annotator = ?) AND NOT EXISTS (SELECT 1 FROM"
            " label_events e WHERE e.query_id = s.query_id AND e.annotator = ?)"
            " ORDER BY s.priority DESC, s.rank, s.query_id LIMIT ?",
            (project, annotator, annotator, COUNT),
        ).fetchall()
        until = _until()
        connection.executemany(
            "INSERT INTO leases (query_id, annotator, project_id, expire_time) VALUES (?, ?, ?, ?)",
            [(row[0], annotator, project, until) for row in rows],
        )
        connection.executemany(
            "UPDATE standings SET leases = leases + 1, state = CASE WHEN votes + leases + 1 >= 1"
            " THEN 'held' ELSE 'open' END WHERE query_id = ?",
            [(row[0],) for row in rows],
        )
        connection.execute("COMMIT")
        return [row[0] for row in rows]

    async def submit(self, annotator: str, ids: Sequence[int], request_id: str) -> None:
        await self._run(self._submit, annotator, ids, request_id)

    def _submit(self, annotator: str, ids: Sequence[int], request_id: str) -> None:
        connection, now = self._connected(), _now()
        connection.execute("BEGIN IMMEDIATE")
        project, last = connection.execute(
            "SELECT id, last_sequence FROM projects WHERE name = ?", (PROJECT,)
        ).fetchone()
        marks = ", ".join("?" * len(ids))
        held = connection.execute(
            "SELECT q.* FROM standings s CROSS JOIN queries q JOIN leases l"
            " ON l.query_id = s.query_id AND l.annotator = ? WHERE q.id = s.query_id"
            f" AND s.query_id IN ({marks}) AND l.expire_time > ? AND s.state <> 'decided'",
            (annotator, *ids, now),
        ).fetchall()
        if len(held) != len(ids):
            raise RuntimeError("a lease was lost")
        connection.executemany(
            "INSERT INTO label_events (project_id, sequence, query_id, annotator, verdict,"
            " seconds, client, create_time) VALUES (?, ?, ?, ?, 'true', 1.5, 'benchmark/1', ?)",
            [(project, last + n, query, annotator, now) for n, query in enumerate(ids, 1)],
        )
        connection.executemany(
            "DELETE FROM leases WHERE query_id = ? AND annotator = ?",
            [(query, annotator) for query in ids],
        )
        connection.executemany(
            "UPDATE standings SET votes = votes + 1, leases = leases - 1, state = 'decided'"
            " WHERE query_id = ?",
            [(query,) for query in ids],
        )
        connection.execute(
            "INSERT INTO submissions (project_id, caller, request_id, content_sha256, outcome,"
            " create_time) VALUES (?, ?, ?, ?, ?, ?)",
            (project, annotator, request_id, _content(ids), json.dumps(list(ids)), now),
        )
        connection.execute(
            "UPDATE projects SET last_sequence = ? WHERE id = ?", (last + len(ids), project)
        )
        connection.execute("COMMIT")

    async def close(self) -> None:
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()


class Core:
    """SQLAlchemy Core a call, on either engine."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn, pool_size=_CONNECTIONS)

    async def lease(self, annotator: str) -> list[int]:
        async with self._database.write() as connection:
            project = await connection.execute(
                select(projects)
                .where(projects.c.name == PROJECT)
                .with_for_update(read=True, key_share=True)
            )
            number = project.one().id
            query = standings.c.query_id
            held = exists().where(leases.c.query_id == query, leases.c.annotator == annotator)
            voted = exists().where(
                label_events.c.query_id == query, label_events.c.annotator == annotator
            )
            statement = (
                select(query)
                .where(standings.c.project_id == number, standings.c.skill == "", IS_OPEN)
                .where(~held, ~voted)
                .order_by(standings.c.priority.desc(), standings.c.rank, query)
                .limit(COUNT)
                .with_for_update(skip_locked=True, of=standings)
            )
            ids = list((await connection.execute(statement)).scalars())
            source = select(
                query,
                literal(annotator),
                standings.c.project_id,
                literal(_time(_until()), Instant),
            ).where(query.in_(ids))
            await connection.execute(
                insert_new(connection, leases).from_select(
                    ["query_id", "annotator", "project_id", "expire_time"], source
                )
            )
            await connection.execute(
                update(standings)
                .where(query.in_(ids))
                .values(leases=standings.c.leases + 1, state="held")
            )
            rows = await connection.execute(select(queries).where(queries.c.id.in_(ids)))
            return [row.id for row in rows]

    async def submit(self, annotator: str, ids: Sequence[int], request_id: str) -> None:
        now = _time(_now())
        async with self._database.write() as connection:
            found = await connection.execute(
                select(projects).where(projects.c.name == PROJECT).with_for_update(key_share=True)
            )
            project = found.one()
            rows = await connection.execute(
                select(queries, *STANDING)
                .select_from(WITH_STANDING)
                .where(queries.c.project_id == project.id, queries.c.id.in_(ids))
                .order_by(queries.c.id)
                .with_for_update(of=standings)
            )
            rows.all()
            mine = and_(leases.c.annotator == annotator, leases.c.query_id.in_(ids))
            held = await connection.execute(
                select(leases.c.query_id).where(mine, leases.c.expire_time > now)
            )
            if len(held.all()) != len(ids):
                raise RuntimeError("a lease was lost")
            await connection.execute(
                update(projects)
                .where(projects.c.id == project.id)
                .values(last_sequence=project.last_sequence + len(ids))
            )
            await connection.execute(
                insert(label_events),
                [
                    {
                        "project_id": project.id,
                        "sequence": project.last_sequence + number,
                        "query_id": query,
                        "annotator": annotator,
                        "verdict": "true",
                        "seconds": 1.5,
                        "client": "benchmark/1",
                        "create_time": now,
                    }
                    for number, query in enumerate(ids, 1)
                ],
            )
            await connection.execute(delete(leases).where(mine))
            await connection.execute(
                update(standings)
                .where(standings.c.query_id.in_(ids))
                .values(votes=standings.c.votes + 1, leases=standings.c.leases - 1, state="decided")
            )
            await connection.execute(
                insert(submissions).values(
                    project_id=project.id,
                    caller=annotator,
                    request_id=request_id,
                    content_sha256=_content(ids),
                    outcome=list(ids),
                    create_time=now,
                )
            )

    async def close(self) -> None:
        await self._database.close()


def _time(microseconds: int) -> Any:
    return Instant().process_result_value(microseconds, None)
