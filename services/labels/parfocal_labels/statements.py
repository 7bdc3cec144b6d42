"""The statements of handing out and answering, in the words of each engine.

They work on many rows at a time: PostgreSQL takes arrays, SQLite takes JSON or runs a prepared
statement once a row. `$1` and `?1` are the same parameter.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parfocal_labels.handing_out import Wish
from parfocal_labels.records import Purpose
from parfocal_labels.rows import RAW_QUERY
from parfocal_labels.schema import CHANNEL
from parfocal_labels.votes import COUNTED
from parfocal_runtime.transactions import Row, Session

Pair = tuple[int, str]
"""A query and an annotator."""

Place = tuple[int, int, int]
"""Where a query stands in the queue: priority, rank, number."""

_PURPOSES = {purpose.value: purpose for purpose in Purpose}
_PARAMETER = re.compile(r"\$(\d+)")


@dataclass
class Facts:
    """Rows of `label_events` that bring labels, column by column, as PostgreSQL takes them.

    Attributes:
        queries: What was answered.
        calls: By which of the calls, from 0.
        verdicts: The answers, where they are verdicts.
        class_names: The answers, where they are classes.
        seconds: Seconds spent.
        purposes: What the labels count for.
        tags: Free words, as JSON; None for none.
    """

    queries: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    verdicts: list[str | None] = field(default_factory=list)
    class_names: list[str | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    purposes: list[str] = field(default_factory=list)
    tags: list[str | None] = field(default_factory=list)

    def columns(self) -> list[object]:
        """Return the columns; one that holds nothing, or only votes, is empty.

        PostgreSQL fills it up with nulls, which cost nothing to send.
        """
        return [
            _literal(self.queries),
            _literal(call + 1 for call in self.calls),
            _literal(_unless_all(self.verdicts, None)),
            _unless_all(self.class_names, None),
            _literal(self.seconds),
            _literal(_unless_all(self.purposes, Purpose.VOTE.value)),
            _unless_all(self.tags, None),
        ]


def _unless_all(column: list[Any], value: object) -> list[Any]:
    return [] if column.count(value) == len(column) else column


def _literal(values: Iterable[int | float | str | None]) -> str:
    """Return numbers or words of ours as PostgreSQL writes an array.

    The driver's own form costs this side two and a half times as much, and both together more.
    """
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


class Handed(NamedTuple):
    """What an annotator was handed.

    Attributes:
        annotator: Who.
        queries: All queries.
        gold: Gold queries among them.
        repeats: Repeats among them.
        gold_before: Gold queries that count as handed out before.
        repeats_before: Repeats that count as handed out before.
    """

    annotator: str
    queries: int
    gold: int
    repeats: int
    gold_before: int
    repeats_before: int


class Locked(NamedTuple):
    """A row of `standings` as it was found."""

    query: int
    state: str
    votes: int
    leases: int
    skips: int
    create_time: int


class Standing(NamedTuple):
    """A row of `standings` as it becomes."""

    query: int
    votes: int
    leases: int
    state: str


class Outcome(NamedTuple):
    """A call: what the row of `submissions` says, and the program that it came from."""

    caller: str
    request_id: str
    content: str
    outcome: str
    client: str


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
            f"SELECT * FROM annotators WHERE project_id = $1 AND name {self._any_text('$2')}",
            project,
            self._texts(names),
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
                queries=self._any_number("$1"),
                annotators=self._any_text("$2"),
            ),
            self._numbers(queries),
            self._texts(annotators),
        )
        return {(row["query_id"], row["annotator"]) for row in rows}

    async def gold(
        self, project: int, annotator: str, skills: Collection[str], *, count: int
    ) -> list[Row]:
        """Return and lock gold queries that `annotator` neither held, answered nor skipped.

        They take one of `skills`.
        """
        order = " ORDER BY s.query_id"
        return await self._extras(_GOLD, order, project, annotator, skills, count=count)

    async def repeats(
        self, project: int, annotator: str, skills: Collection[str], *, count: int
    ) -> list[Row]:
        """Return and lock queries that `annotator` answered, longest ago first, but once only.

        They take one of `skills`.
        """
        order = " ORDER BY e.sequence"
        return await self._extras(_REPEATS, order, project, annotator, skills, count=count)

    async def _extras(
        self,
        wanted: str,
        order: str,
        project: int,
        annotator: str,
        skills: Collection[str],
        *,
        count: int,
    ) -> list[Row]:
        statement = wanted.format(skills=self._any_text("$3"))
        given = (project, annotator, self._texts(skills))
        lock = " FOR NO KEY UPDATE OF s SKIP LOCKED"
        rows = list(await self._rows(f"{statement}{order} LIMIT $4", *given, count, lock=lock))
        if not rows or not self._is_postgresql:
            return rows
        # Another replica may have handed them out while this one looked. Now that the rows are
        # locked, what was committed before that is seen.
        among = f" AND s.query_id {self._any_number('$4')}"
        numbers = self._numbers([row["id"] for row in rows])
        free = {row["id"] for row in await self._rows(statement + among, *given, numbers)}
        return [row for row in rows if row["id"] in free]

    async def count_handed(self, project: int, handed: Iterable[Handed], *, now: int) -> None:
        """Add to what annotators were handed."""
        rows = [(project, *each, now) for each in handed]
        await self._session.run_many(self._words(_COUNT_HANDED), rows)

    async def hold(
        self,
        project: int,
        wishes: Sequence[Wish],
        held: Sequence[tuple[int, int, Purpose]],
        *,
        now: int,
        votes_needed: int,
    ) -> None:
        """Lease locked queries, and count the leases that take up a place.

        Args:
            project: Whose queries.
            wishes: For whom, and for how long.
            held: A query, the number of the wish that it answers, from 0, and what for.
            now: The present time, microseconds since 1970 UTC.
            votes_needed: Where all places of a query are taken.
        """
        ends = [now + wish.ttl for wish in wishes]
        if self._is_postgresql:
            purposes = [purpose.value for _, _, purpose in held]
            await self._session.run(
                _HOLD,
                _literal([query for query, _, _ in held]),
                _literal([number + 1 for _, number, _ in held]),
                _literal(_unless_all(purposes, Purpose.VOTE.value)),
                [wish.annotator for wish in wishes],
                ends,
                project,
                votes_needed,
            )
            return
        rows = [
            (query, wishes[number].annotator, project, ends[number], purpose.value)
            for query, number, purpose in held
        ]
        await self._session.run_many(_INSERT_LEASE, rows)
        places = [query for query, _, purpose in held if purpose is Purpose.VOTE]
        await self._session.run_many(_COUNT_LEASE, [(votes_needed, query) for query in places])

    async def lock(self, project: int, queries: Collection[int]) -> dict[int, Locked]:
        """Return the standings of queries, locked in the order of their numbers."""
        rows = await self._rows(
            "SELECT query_id, state, votes, leases, skips, create_time FROM standings"
            f" WHERE query_id {self._any_number('$1')} AND project_id = $2 ORDER BY query_id",
            self._numbers(queries),
            project,
            lock=" FOR NO KEY UPDATE",
        )
        return {locked.query: locked for locked in (Locked(*row) for row in rows)}

    async def queries(self, numbers: Collection[int]) -> Sequence[Row]:
        """Return queries with their standings."""
        return await self._rows(
            f"{_QUERIES} AND s.query_id {self._any_number('$1')}", self._numbers(numbers)
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
        return {(row["query_id"], row["annotator"]): _PURPOSES[row["purpose"]] for row in rows}

    async def votes(self, queries: Collection[int]) -> Sequence[Row]:
        """Return the votes that stand on `queries`, earliest first."""
        statement = _VOTES.format(queries=self._any_number("$1"))
        return await self._rows(statement, self._numbers(queries))

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
        after: int,
        now: int,
    ) -> None:
        """Write labels, end the leases that they answer, and settle their queries.

        Args:
            project: Whose.
            facts: The labels; their sequence numbers follow upon `after`.
            standings: What becomes of the queries.
            outcomes: The calls that they came with.
            after: The last sequence number so far.
            now: The present time, microseconds since 1970 UTC.
        """
        if self._is_postgresql:
            queries, votes, leases, states = _columns(standings, Standing)
            await self._session.run(
                _WRITE,
                project,
                now,
                after,
                *facts.columns(),
                *map(_literal, (queries, votes, leases, states)),
                *_columns(outcomes, Outcome),
            )
            return
        run_many = self._session.run_many
        calls = [outcomes[call] for call in facts.calls]
        events = zip(
            itertools.count(after + 1),
            facts.queries,
            [call.caller for call in calls],
            facts.verdicts,
            facts.class_names,
            facts.seconds,
            [call.client for call in calls],
            facts.purposes,
            facts.tags,
            strict=False,
        )
        await run_many(_INSERT_FACT, [(project, now, *event) for event in events])
        answered = zip(facts.queries, calls, strict=True)
        await run_many(_END_LEASE, [(query, call.caller) for query, call in answered])
        await run_many(_SETTLE, standings)
        await run_many(_INSERT_OUTCOME, [(project, now, *each[:-1]) for each in outcomes])
        await self._session.run(_TAKE_NUMBERS, after + len(facts.queries), project)

    async def expired(self, project: int, *, now: int, count: int) -> list[int]:
        """Return and lock the queries of the `count` leases which have been over for longest.

        A query is named once for each.
        """
        rows = await self._rows(
            "SELECT s.query_id FROM leases l JOIN standings s ON s.query_id = l.query_id"
            " WHERE l.project_id = $1 AND l.expire_time <= $2 ORDER BY l.expire_time LIMIT $3",
            project,
            now,
            count,
            lock=" FOR NO KEY UPDATE OF s SKIP LOCKED",
        )
        return [row["query_id"] for row in rows]

    async def expired_for(
        self,
        project: int,
        annotator: str,
        skills: Collection[str],
        *,
        round_: str,
        now: int,
        count: int,
    ) -> list[int]:
        """Return and lock queries whose leases are over and that `annotator` may judge.

        They take one of `skills` and come as they stand in the queue.
        """
        given = (project, now, annotator, self._texts(skills), round_ or None, count)
        rows = await self._rows(
            _EXPIRED_FOR.format(skills=self._any_text("$4")),
            *given,
            lock=" FOR NO KEY UPDATE OF s SKIP LOCKED",
        )
        return [row["query_id"] for row in rows]

    async def end_expired(
        self, queries: Collection[int], *, now: int, votes_needed: int
    ) -> list[Pair]:
        """Delete leases on locked queries that are over, and open the places that they took.

        Returns:
            A query and who held it, for each of these places.
        """
        # The project is not named, lest PostgreSQL goes through all of its leases that are over.
        ended = await self._rows(
            f"DELETE FROM leases WHERE query_id {self._each_number('$1')} AND expire_time <= $2"
            " RETURNING query_id, annotator, purpose",
            self._numbers(set(queries)),
            now,
        )
        places = [
            (row["query_id"], row["annotator"])
            for row in ended
            if row["purpose"] == Purpose.VOTE.value
        ]
        await self._session.run_many(
            self._words(_OPEN_PLACE), [(votes_needed, query) for query, _ in places]
        )
        return places

    async def _rows(self, statement: str, *given: object, lock: str = "") -> Sequence[Row]:
        text = statement + lock if self._is_postgresql else self._words(statement)
        return await self._session.rows(text, *given)

    def _words(self, statement: str) -> str:
        return statement if self._is_postgresql else _PARAMETER.sub(r"?\1", statement)

    def _any_number(self, parameter: str) -> str:
        if self._is_postgresql:
            return f"= ANY({parameter}::text::bigint[])"
        return f"IN (SELECT value FROM json_each({parameter}))"

    def _each_number(self, parameter: str) -> str:
        """Return the condition in words that let PostgreSQL look each of many numbers up."""
        if self._is_postgresql:
            return f"IN (SELECT unnest({parameter}::text::bigint[]))"
        return self._any_number(parameter)

    def _numbers(self, values: Collection[int]) -> str:
        return _literal(values) if self._is_postgresql else json.dumps(list(values))

    def _any_text(self, parameter: str) -> str:
        if self._is_postgresql:
            return f"= ANY({parameter}::text[])"
        return f"IN (SELECT value FROM json_each({parameter}))"

    def _texts(self, values: Collection[str]) -> object:
        return list(values) if self._is_postgresql else json.dumps(list(values))

    def _pairs(self) -> str:
        if self._is_postgresql:
            return (
                "(SELECT * FROM unnest($2::text::bigint[], $3::text[]) AS u(query_id, annotator))"
            )
        return (
            "(SELECT json_extract(value, '$[0]') AS query_id,"
            " json_extract(value, '$[1]') AS annotator FROM json_each($2))"
        )

    def _split(self, pairs: Collection[Pair]) -> tuple[object, ...]:
        if self._is_postgresql:
            return _literal([query for query, _ in pairs]), [name for _, name in pairs]
        return (json.dumps(list(pairs)),)


def _columns(rows: Sequence[Standing | Outcome], kind: type[Standing | Outcome]) -> list[Any]:
    return list(zip(*rows, strict=True)) or [()] * len(kind._fields)


_LASTING = (
    "NOT EXISTS (SELECT 1 FROM label_events r"
    " WHERE r.project_id = {e}.project_id AND r.retracts = {e}.sequence)"
)
_IS_LABEL = "({e}.verdict IS NOT NULL OR {e}.class_name IS NOT NULL)"

# Who took back what they answered may answer again, whatever they said when they were asked twice.
_ANSWERS = f"{_IS_LABEL} AND {_LASTING} AND {{e}}.purpose <> 'repeat'"

_BARRED = (
    "SELECT query_id, annotator FROM leases WHERE query_id {queries} AND annotator {annotators}"
    " UNION ALL SELECT query_id, annotator FROM skips"
    " WHERE query_id {queries} AND annotator {annotators}"
    " UNION ALL SELECT e.query_id, e.annotator FROM label_events e"
    " WHERE e.query_id {queries} AND e.annotator {annotators}"
    f" AND {_ANSWERS.format(e='e')}"
)

# CROSS JOIN makes SQLite take the tables in this order, and then the rows come in that of the
# queue's index.
_QUERIES = f"SELECT {RAW_QUERY} FROM standings s CROSS JOIN queries q WHERE q.id = s.query_id"
_UNHELD = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} t"
    " WHERE t.query_id = s.query_id AND t.annotator = {annotator})"
    for table in ("leases", "skips")
)
_UNANSWERED = (
    "NOT EXISTS (SELECT 1 FROM label_events e WHERE e.query_id = s.query_id"
    " AND e.annotator = {annotator}"
    f" AND {_ANSWERS.format(e='e')})"
)
_FREE = f"{_UNHELD} AND {_UNANSWERED}"
# One's own lease that is over does not stand in the way.
_EXPIRED_FOR = (
    "SELECT s.query_id FROM leases l CROSS JOIN standings s WHERE s.query_id = l.query_id"
    " AND l.project_id = $1 AND l.expire_time <= $2 AND l.purpose = 'vote'"
    " AND s.state IN ('open', 'held') AND s.skill {skills} AND s.round = COALESCE($5, s.round)"
    " AND NOT EXISTS (SELECT 1 FROM leases t WHERE t.query_id = s.query_id"
    " AND t.annotator = $3 AND t.expire_time > $2)"
    " AND NOT EXISTS (SELECT 1 FROM skips t WHERE t.query_id = s.query_id AND t.annotator = $3)"
    f" AND {_UNANSWERED.format(annotator='$3')}"
    " ORDER BY s.priority DESC, s.rank, s.query_id LIMIT $6"
)
_GOLD = (
    f"{_QUERIES} AND s.project_id = $1 AND s.state = 'gold' AND s.skill {{skills}}"
    f" AND {_UNHELD.format(annotator='$2')} AND NOT EXISTS (SELECT 1 FROM label_events e"
    " WHERE e.query_id = s.query_id AND e.annotator = $2)"
)
_REPEATS = (
    f"SELECT {RAW_QUERY} FROM label_events e"
    " CROSS JOIN standings s CROSS JOIN queries q"
    " WHERE s.query_id = e.query_id AND q.id = e.query_id"
    " AND e.project_id = $1 AND e.annotator = $2 AND e.purpose = 'vote'"
    f" AND {_IS_LABEL.format(e='e')} AND {_LASTING.format(e='e')}"
    " AND s.skill {skills} AND NOT EXISTS (SELECT 1 FROM withdrawn_rounds w"
    " WHERE w.project_id = s.project_id AND w.round = s.round)"
    " AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.query_id = q.id AND l.annotator = $2)"
    " AND NOT EXISTS (SELECT 1 FROM skips k WHERE k.query_id = q.id AND k.annotator = $2)"
    " AND NOT EXISTS (SELECT 1 FROM label_events r WHERE r.query_id = q.id"
    " AND r.annotator = $2 AND r.purpose = 'repeat')"
)
_COUNT_HANDED = (
    "INSERT INTO annotators (project_id, name, skills, suspended, handed_out, gold_out,"
    " repeats_out, create_time) VALUES ($1, $2, '[]', false, $3, $4, $5, $8)"
    " ON CONFLICT (project_id, name) DO UPDATE SET"
    " handed_out = annotators.handed_out + excluded.handed_out,"
    " gold_out = excluded.gold_out"
    " + CASE WHEN annotators.gold_out > $6 THEN annotators.gold_out ELSE $6 END,"
    " repeats_out = excluded.repeats_out"
    " + CASE WHEN annotators.repeats_out > $7 THEN annotators.repeats_out ELSE $7 END"
)

_HOLD = (
    "WITH given AS (SELECT query_id, ($4::text[])[wish] AS annotator,"
    " ($5::bigint[])[wish] AS expire_time, COALESCE(purpose, 'vote') AS purpose"
    " FROM unnest($1::text::bigint[], $2::text::int[], $3::text::text[])"
    " AS u(query_id, wish, purpose)),"
    " held AS (INSERT INTO leases (query_id, annotator, project_id, expire_time, purpose)"
    " SELECT query_id, annotator, $6::bigint, expire_time, purpose FROM given),"
    " places AS (SELECT query_id, count(*) AS n FROM given WHERE purpose = 'vote'"
    " GROUP BY query_id)"
    " UPDATE standings s SET leases = s.leases + p.n,"
    " state = CASE WHEN s.votes + s.leases + p.n >= $7::int THEN 'held' ELSE 'open' END"
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
    "WITH facts AS (SELECT query_id, ($15::text[])[call] AS annotator, verdict, class_name,"
    " seconds, ($19::text[])[call] AS client, purpose, tags, $3::bigint + number AS sequence"
    " FROM unnest($4::text::bigint[], $5::text::int[], $6::text::text[], $7::text[],"
    " $8::text::float8[], $9::text::text[], $10::text[]) WITH ORDINALITY"
    " AS u(query_id, call, verdict, class_name, seconds, purpose, tags, number)),"
    " written AS (INSERT INTO label_events (project_id, create_time, sequence, query_id,"
    " annotator, verdict, class_name, seconds, client, purpose, tags)"
    " SELECT $1::bigint, $2::bigint, sequence, query_id, annotator, verdict, class_name,"
    " seconds, client, COALESCE(purpose, 'vote'), tags::json FROM facts),"
    " ended AS (DELETE FROM leases l USING facts f"
    " WHERE l.query_id = f.query_id AND l.annotator = f.annotator),"
    " settled AS (UPDATE standings s SET votes = u.votes, leases = u.leases, state = u.state"
    " FROM unnest($11::text::bigint[], $12::text::int[], $13::text::int[], $14::text::text[])"
    " AS u(query_id, votes, leases, state) WHERE s.query_id = u.query_id),"
    " remembered AS (INSERT INTO submissions (project_id, caller, request_id, content_sha256,"
    " outcome, create_time)"
    " SELECT $1::bigint, caller, request_id, content, outcome::json, $2::bigint"
    " FROM unnest($15::text[], $16::text[], $17::text[], $18::text[])"
    " AS u(caller, request_id, content, outcome))"
    " UPDATE projects SET last_sequence = $3 + cardinality($4::text::bigint[]) WHERE id = $1"
    f" RETURNING pg_notify('{CHANNEL}', $1::bigint::text)"
)
_INSERT_FACT = (
    "INSERT INTO label_events (project_id, create_time, sequence, query_id, annotator, verdict,"
    " class_name, seconds, client, purpose, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_END_LEASE = "DELETE FROM leases WHERE query_id = ? AND annotator = ?"
_SETTLE = "UPDATE standings SET votes = ?2, leases = ?3, state = ?4 WHERE query_id = ?1"
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
