"""The statements of handing out and answering, in the words of each engine.

They work on many rows at a time: PostgreSQL takes arrays, SQLite takes JSON or runs a prepared
statement once a row. `$1` and `?1` are the same parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parfocal_labels.handing_out import Wish
from parfocal_labels.records import Purpose, QueryState
from parfocal_labels.schema import CHANNEL
from parfocal_labels.votes import COUNTED
from parfocal_runtime.transactions import Row, Session

Pair = tuple[int, str]
"""A query and an annotator."""

Place = tuple[int, int, int]
"""Where a query stands in the queue: priority, rank, number."""

_PARAMETER = re.compile(r"\$(\d+)")


@dataclass
class Facts:
    """Rows of `label_events` that bring labels, column by column, as PostgreSQL takes them."""

    sequences: list[int] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    annotators: list[str] = field(default_factory=list)
    verdicts: list[str | None] = field(default_factory=list)
    class_names: list[str | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    purposes: list[str] = field(default_factory=list)
    tags: list[str | None] = field(default_factory=list)

    def columns(self) -> list[list[Any]]:
        """Return the columns; one that holds nothing, or only votes, is empty.

        PostgreSQL fills it up with nulls, which cost nothing to send.
        """
        return [
            self.sequences,
            self.queries,
            self.annotators,
            _unless_all(self.verdicts, None),
            _unless_all(self.class_names, None),
            self.seconds,
            self.clients,
            _unless_all(self.purposes, Purpose.VOTE.value),
            _unless_all(self.tags, None),
        ]


def _unless_all(column: list[Any], value: object) -> list[Any]:
    return [] if column.count(value) == len(column) else column


@dataclass(frozen=True)
class Standing:
    """A row of `standings` as it becomes."""

    query: int
    votes: int
    leases: int
    state: QueryState


@dataclass(frozen=True)
class Outcome:
    """A row of `submissions`."""

    caller: str
    request_id: str
    content: str
    outcome: str


class Statements:
    """The statements of one open transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_postgresql = session.is_postgresql

    async def project(self, name: str, *, numbers: bool) -> Row | None:
        """Return the row of a project, held so that its rules stay as they are.

        Args:
            name: Its name.
            numbers: Whether to keep others from taking its sequence numbers too.
        """
        lock = " FOR NO KEY UPDATE" if numbers else " FOR KEY SHARE"
        rows = await self._rows("SELECT * FROM projects WHERE name = $1", name, lock=lock)
        return rows[0] if rows else None

    async def annotators(self, project: int, names: Collection[str]) -> dict[str, Row]:
        """Return the rows of those annotators that the project knows, by name."""
        rows = await self._rows(
            f"SELECT * FROM annotators WHERE project_id = $1 AND name {self._any('$2', 'text')}",
            project,
            self._array(names),
        )
        return {row["name"]: row for row in rows}

    async def open_queries(
        self,
        project: int,
        *,
        round_: str,
        skill: str,
        after: Place | None,
        count: int,
        annotator: str = "",
    ) -> list[Row]:
        """Return and lock open queries in order, from behind `after` on.

        What other transactions have in hand is passed over, and with an `annotator` what they
        hold, answered or skipped. The cost does not depend on the length of the queue: each
        statement reads a range of an index.
        """
        given: list[object] = [project, skill]

        def put(value: object) -> str:
            given.append(value)
            return f"${len(given)}"

        where = "s.project_id = $1 AND s.skill = $2 AND s.state = 'open'"
        if round_:
            where += f" AND s.round = {put(round_)}"
        if annotator:
            where += f" AND {_FREE.format(annotator=put(annotator))}"
        if after is None:
            return await self._queue(where, *given, count=count)
        priority, rank, query = after
        level = f"{where} AND s.priority = {put(priority)}"
        behind = f"{level} AND (s.rank, s.query_id) > ({put(rank)}, {put(query)})"
        rows = await self._queue(behind, *given, count=count)
        if len(rows) < count:
            del given[-2:]
            lower = f"{where} AND s.priority < ${len(given)}"
            rows += await self._queue(lower, *given, count=count - len(rows))
        return rows

    async def _queue(self, where: str, *given: object, count: int) -> list[Row]:
        order = "ORDER BY s.priority DESC, s.rank, s.query_id"
        statement = f"{_QUERIES} AND {where} {order} LIMIT ${len(given) + 1}"
        lock = " FOR NO KEY UPDATE OF s SKIP LOCKED"
        return list(await self._rows(statement, *given, count, lock=lock))

    async def barred(self, queries: Collection[int], annotators: Collection[str]) -> set[Pair]:
        """Return which of `annotators` hold, answered or skipped which of the locked `queries`."""
        rows = await self._rows(
            _BARRED.format(
                queries=self._any("$1", "bigint"),
                annotators=self._any("$2", "text"),
            ),
            self._array(queries),
            self._array(annotators),
        )
        return {(row["query_id"], row["annotator"]) for row in rows}

    async def gold(self, project: int, annotator: str, *, count: int) -> list[Row]:
        """Return and lock gold queries that `annotator` neither held, answered nor skipped."""
        return list(
            await self._rows(
                _GOLD, project, annotator, count, lock=" FOR NO KEY UPDATE OF s SKIP LOCKED"
            )
        )

    async def repeats(self, project: int, annotator: str, *, count: int) -> list[Row]:
        """Return and lock queries that `annotator` answered, longest ago first, but once only."""
        return list(
            await self._rows(
                _REPEATS, project, annotator, count, lock=" FOR NO KEY UPDATE OF s SKIP LOCKED"
            )
        )

    async def count_handed(
        self, project: int, handed: Iterable[tuple[str, int, int, int]], *, now: int
    ) -> None:
        """Add to what annotators were handed: all, gold and repeats."""
        rows = [(project, *each, now) for each in handed]
        await self._session.run_many(self._words(_COUNT_HANDED), rows)

    async def hold(
        self, project: int, held: Sequence[tuple[int, Wish, Purpose]], *, votes_needed: int
    ) -> None:
        """Lease locked queries, and count the leases that take up a place."""
        queries = [query for query, _, _ in held]
        wishes = [wish for _, wish, _ in held]
        purposes = [purpose.value for _, _, purpose in held]
        names, untils = [wish.annotator for wish in wishes], [wish.until for wish in wishes]
        if self._is_postgresql:
            given = _unless_all(purposes, Purpose.VOTE.value)
            await self._session.run(_HOLD, queries, names, untils, given, project, votes_needed)
            return
        projects = [project] * len(held)
        rows = list(zip(queries, names, projects, untils, purposes, strict=True))
        await self._session.run_many(_INSERT_LEASE, rows)
        places = [query for query, _, purpose in held if purpose is Purpose.VOTE]
        await self._session.run_many(_COUNT_LEASE, [(votes_needed, query) for query in places])

    async def lock(self, project: int, queries: Collection[int]) -> dict[int, Row]:
        """Return the standings of queries, locked in the order of their numbers."""
        rows = await self._rows(
            f"SELECT * FROM standings WHERE query_id {self._any('$1', 'bigint')}"
            " AND project_id = $2 ORDER BY query_id",
            self._array(queries),
            project,
            lock=" FOR NO KEY UPDATE",
        )
        return {row["query_id"]: row for row in rows}

    async def queries(self, numbers: Collection[int]) -> Sequence[Row]:
        """Return queries with their standings."""
        return await self._rows(
            f"{_QUERIES} AND s.query_id {self._any('$1', 'bigint')}", self._array(numbers)
        )

    async def held(self, pairs: Collection[Pair], *, now: int) -> dict[Pair, Purpose]:
        """Return for which of `pairs` there is a lease that lasts, and what it is for."""
        rows = await self._rows(
            f"SELECT l.query_id, l.annotator, l.purpose FROM {self._pairs()} AS p"
            " JOIN leases l ON l.query_id = p.query_id AND l.annotator = p.annotator"
            " WHERE l.expire_time > $1",
            now,
            *self._split(pairs),
        )
        return {(row["query_id"], row["annotator"]): Purpose(row["purpose"]) for row in rows}

    async def votes(self, queries: Collection[int]) -> Sequence[Row]:
        """Return the votes that stand on `queries`, earliest first."""
        statement = _VOTES.format(queries=self._any("$1", "bigint"))
        return await self._rows(statement, self._array(queries))

    async def outcomes(
        self, project: int, calls: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Row]:
        """Return what became of earlier calls, by caller and request id."""
        if self._is_postgresql:
            callers, ids = [call[0] for call in calls], [call[1] for call in calls]
            rows = await self._rows(_OUTCOMES, project, callers, ids)
        else:
            rows = await self._rows(_SQLITE_OUTCOMES, project, json.dumps(list(calls)))
        return {(row["caller"], row["request_id"]): row for row in rows}

    async def write(
        self,
        project: int,
        *,
        facts: Facts,
        standings: Sequence[Standing],
        outcomes: Sequence[Outcome],
        last_sequence: int,
        now: int,
    ) -> None:
        """Write labels, end the leases that they answer, and settle their queries."""
        if self._is_postgresql:
            await self._session.run(
                _WRITE,
                project,
                now,
                last_sequence,
                *facts.columns(),
                [each.query for each in standings],
                [each.votes for each in standings],
                [each.leases for each in standings],
                [each.state.value for each in standings],
                *_columns(outcomes, Outcome),
            )
            await self._session.run(f"SELECT pg_notify('{CHANNEL}', $1)", str(project))
            return
        run_many = self._session.run_many
        events = zip(*vars(facts).values(), strict=True)
        await run_many(_INSERT_FACT, [(project, now, *event) for event in events])
        await run_many(_END_LEASE, list(zip(facts.queries, facts.annotators, strict=True)))
        await run_many(
            _SETTLE, [(each.votes, each.leases, each.state.value, each.query) for each in standings]
        )
        await run_many(_INSERT_OUTCOME, [(project, now, *vars(each).values()) for each in outcomes])
        await self._session.run(_TAKE_NUMBERS, last_sequence, project)

    async def expired(self, project: int, *, now: int, count: int) -> list[int]:
        """Return and lock queries that have leases which are over."""
        rows = await self._rows(
            "SELECT s.query_id FROM leases l JOIN standings s ON s.query_id = l.query_id"
            " WHERE l.project_id = $1 AND l.expire_time <= $2 ORDER BY l.expire_time LIMIT $3",
            project,
            now,
            count,
            lock=" FOR NO KEY UPDATE OF s SKIP LOCKED",
        )
        return sorted({row["query_id"] for row in rows})

    async def end_expired(
        self, project: int, queries: Collection[int], *, now: int, votes_needed: int
    ) -> None:
        """Delete leases on locked queries that are over, and open the places that they took."""
        ended = await self._rows(
            f"DELETE FROM leases WHERE query_id {self._any('$1', 'bigint')}"
            " AND project_id = $2 AND expire_time <= $3 RETURNING query_id, purpose",
            self._array(queries),
            project,
            now,
        )
        places = [row["query_id"] for row in ended if row["purpose"] == Purpose.VOTE.value]
        await self._session.run_many(
            self._words(_OPEN_PLACE), [(votes_needed, query) for query in places]
        )

    async def _rows(self, statement: str, *given: object, lock: str = "") -> Sequence[Row]:
        text = statement + lock if self._is_postgresql else self._words(statement)
        return await self._session.rows(text, *given)

    def _words(self, statement: str) -> str:
        return statement if self._is_postgresql else _PARAMETER.sub(r"?\1", statement)

    def _any(self, parameter: str, kind: str) -> str:
        if self._is_postgresql:
            return f"= ANY({parameter}::{kind}[])"
        return f"IN (SELECT value FROM json_each({parameter}))"

    def _array(self, values: Collection[Any]) -> object:
        return list(values) if self._is_postgresql else json.dumps(list(values))

    def _pairs(self) -> str:
        if self._is_postgresql:
            return "(SELECT * FROM unnest($2::bigint[], $3::text[]) AS u(query_id, annotator))"
        return (
            "(SELECT json_extract(value, '$[0]') AS query_id,"
            " json_extract(value, '$[1]') AS annotator FROM json_each($2))"
        )

    def _split(self, pairs: Collection[Pair]) -> tuple[object, ...]:
        if self._is_postgresql:
            return [query for query, _ in pairs], [annotator for _, annotator in pairs]
        return (json.dumps(list(pairs)),)


def _columns(rows: Sequence[Any], kind: type[Any]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in kind.__dataclass_fields__]


_LASTING = (
    "NOT EXISTS (SELECT 1 FROM label_events r"
    " WHERE r.project_id = {e}.project_id AND r.retracts = {e}.sequence)"
)
_IS_LABEL = "({e}.verdict IS NOT NULL OR {e}.class_name IS NOT NULL)"

_BARRED = (
    "SELECT query_id, annotator FROM leases WHERE query_id {queries} AND annotator {annotators}"
    " UNION ALL SELECT query_id, annotator FROM skips"
    " WHERE query_id {queries} AND annotator {annotators}"
    " UNION ALL SELECT e.query_id, e.annotator FROM label_events e"
    " WHERE e.query_id {queries} AND e.annotator {annotators}"
    f" AND {_IS_LABEL.format(e='e')} AND {_LASTING.format(e='e')}"
)

# CROSS JOIN makes SQLite take the tables in this order, and then the rows come in that of the
# queue's index.
_QUERIES = (
    "SELECT q.*, s.state, s.votes, s.leases, s.skips"
    " FROM standings s CROSS JOIN queries q WHERE q.id = s.query_id"
)
_UNHELD = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} t"
    " WHERE t.query_id = s.query_id AND t.annotator = {annotator})"
    for table in ("leases", "skips")
)
_FREE = (
    f"{_UNHELD} AND NOT EXISTS (SELECT 1 FROM label_events e WHERE e.query_id = s.query_id"
    " AND e.annotator = {annotator}"
    f" AND {_IS_LABEL.format(e='e')} AND {_LASTING.format(e='e')})"
)
_GOLD = (
    f"{_QUERIES} AND s.project_id = $1 AND s.state = 'gold'"
    f" AND {_UNHELD.format(annotator='$2')} AND NOT EXISTS (SELECT 1 FROM label_events e"
    " WHERE e.query_id = s.query_id AND e.annotator = $2) ORDER BY s.query_id LIMIT $3"
)
_REPEATS = (
    "SELECT q.*, s.state, s.votes, s.leases, s.skips FROM label_events e"
    " CROSS JOIN standings s CROSS JOIN queries q"
    " WHERE s.query_id = e.query_id AND q.id = e.query_id"
    " AND e.project_id = $1 AND e.annotator = $2 AND e.purpose = 'vote'"
    f" AND {_IS_LABEL.format(e='e')} AND {_LASTING.format(e='e')}"
    " AND s.state <> 'withdrawn'"
    " AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.query_id = q.id AND l.annotator = $2)"
    " AND NOT EXISTS (SELECT 1 FROM skips k WHERE k.query_id = q.id AND k.annotator = $2)"
    " AND NOT EXISTS (SELECT 1 FROM label_events r WHERE r.query_id = q.id"
    " AND r.annotator = $2 AND r.purpose = 'repeat')"
    " ORDER BY e.sequence LIMIT $3"
)
_COUNT_HANDED = (
    "INSERT INTO annotators (project_id, name, skills, suspended, handed_out, gold_out,"
    " repeats_out, create_time) VALUES ($1, $2, '[]', false, $3, $4, $5, $6)"
    " ON CONFLICT (project_id, name) DO UPDATE SET"
    " handed_out = annotators.handed_out + excluded.handed_out,"
    " gold_out = annotators.gold_out + excluded.gold_out,"
    " repeats_out = annotators.repeats_out + excluded.repeats_out"
)

_HOLD = (
    "WITH given AS (SELECT query_id, annotator, expire_time, COALESCE(purpose, 'vote') AS purpose"
    " FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[])"
    " AS u(query_id, annotator, expire_time, purpose)),"
    " held AS (INSERT INTO leases (query_id, annotator, project_id, expire_time, purpose)"
    " SELECT query_id, annotator, $5::bigint, expire_time, purpose FROM given),"
    " places AS (SELECT query_id, count(*) AS n FROM given WHERE purpose = 'vote'"
    " GROUP BY query_id)"
    " UPDATE standings s SET leases = s.leases + p.n,"
    " state = CASE WHEN s.votes + s.leases + p.n >= $6::int THEN 'held' ELSE 'open' END"
    " FROM places p WHERE s.query_id = p.query_id"
)
_INSERT_LEASE = (
    "INSERT INTO leases (query_id, annotator, project_id, expire_time, purpose)"
    " VALUES (?, ?, ?, ?, ?)"
)
_COUNT_LEASE = (
    "UPDATE standings SET leases = leases + 1,"
    " state = CASE WHEN votes + leases + 1 >= ?1 THEN 'held' ELSE 'open' END WHERE query_id = ?2"
)
_OPEN_PLACE = (
    "UPDATE standings SET leases = leases - 1, state = CASE WHEN state NOT IN ('open', 'held')"
    " THEN state WHEN votes + leases - 1 >= $1 THEN 'held' ELSE 'open' END WHERE query_id = $2"
)

# The project is not named, lest SQLite goes through all events of the project in their order.
_VOTES = (
    "SELECT e.query_id, e.annotator, e.verdict, e.class_name FROM label_events e"
    " WHERE e.query_id {queries}"
    f" AND e.purpose IN ({', '.join(map(repr, COUNTED))})"
    f" AND {_IS_LABEL.format(e='e')} AND {_LASTING.format(e='e')} ORDER BY e.sequence"
)

_WRITE = (
    "WITH facts AS (SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[],"
    " $8::text[], $9::float8[], $10::text[], $11::text[], $12::text[]) AS u(sequence, query_id,"
    " annotator, verdict, class_name, seconds, client, purpose, tags)),"
    " written AS (INSERT INTO label_events (project_id, create_time, sequence, query_id,"
    " annotator, verdict, class_name, seconds, client, purpose, tags)"
    " SELECT $1::bigint, $2::bigint, sequence, query_id, annotator, verdict, class_name,"
    " seconds, client, COALESCE(purpose, 'vote'), tags::json FROM facts),"
    " ended AS (DELETE FROM leases l USING facts f"
    " WHERE l.query_id = f.query_id AND l.annotator = f.annotator),"
    " settled AS (UPDATE standings s SET votes = u.votes, leases = u.leases, state = u.state"
    " FROM unnest($13::bigint[], $14::int[], $15::int[], $16::text[])"
    " AS u(query_id, votes, leases, state) WHERE s.query_id = u.query_id),"
    " remembered AS (INSERT INTO submissions (project_id, caller, request_id, content_sha256,"
    " outcome, create_time)"
    " SELECT $1::bigint, caller, request_id, content, outcome::json, $2::bigint"
    " FROM unnest($17::text[], $18::text[], $19::text[], $20::text[])"
    " AS u(caller, request_id, content, outcome))"
    " UPDATE projects SET last_sequence = $3 WHERE id = $1"
)
_INSERT_FACT = (
    "INSERT INTO label_events (project_id, create_time, sequence, query_id, annotator, verdict,"
    " class_name, seconds, client, purpose, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_END_LEASE = "DELETE FROM leases WHERE query_id = ? AND annotator = ?"
_SETTLE = "UPDATE standings SET votes = ?, leases = ?, state = ? WHERE query_id = ?"
# OFFSET 0 keeps the planner from turning the look-ups about: it would read all submissions.
_OUTCOMES = (
    "SELECT s.* FROM unnest($2::text[], $3::text[]) AS c(caller, request_id) CROSS JOIN LATERAL"
    " (SELECT * FROM submissions s WHERE s.project_id = $1 AND s.caller = c.caller"
    " AND s.request_id = c.request_id OFFSET 0) s"
)
_SQLITE_OUTCOMES = (
    "SELECT s.* FROM (SELECT json_extract(value, '$[0]') AS caller,"
    " json_extract(value, '$[1]') AS request_id FROM json_each($2)) AS c"
    " CROSS JOIN submissions s WHERE s.project_id = $1 AND s.caller = c.caller"
    " AND s.request_id = c.request_id"
)
_INSERT_OUTCOME = (
    "INSERT INTO submissions (project_id, create_time, caller, request_id, content_sha256,"
    " outcome) VALUES (?, ?, ?, ?, ?, ?)"
)
_TAKE_NUMBERS = "UPDATE projects SET last_sequence = ? WHERE id = ?"
