"""Leases: who holds which query, and until when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.queries import count_changes
from parfocal_labels.records import Lease, Project, Query
from parfocal_labels.schema import IS_OPEN, Instant, leases, queries
from parfocal_labels.votes import has_vote_of
from parfocal_runtime.database import insert_new

_EXPIRED_AT_ONCE = 1000


async def lease_queries(
    connection: AsyncConnection,
    project: Project,
    annotator: str,
    *,
    count: int,
    now: datetime,
    until: datetime,
    round_: str = "",
) -> list[Lease]:
    """Hand the next queries of `project`, held `RULES`, to `annotator`.

    Args:
        connection: Open transaction.
        project: The project.
        annotator: Who will answer.
        count: Queries at most.
        now: The present time.
        until: When the leases end.
        round_: Only this round's; empty for all.

    Returns:
        The leases by priority, then rank; fewer than `count` where there are no more queries
        that miss votes and that this annotator has neither answered nor holds.
    """
    await return_expired(connection, project, now=now)
    taken: list[Query] = []
    while len(taken) < count:
        statement = next_queries_statement(
            project, annotator, count=count - len(taken), round_=round_
        )
        wanted = list((await connection.execute(statement)).scalars())
        if not wanted:
            break
        ids = await _hold(connection, wanted, annotator, until=until)
        taken += await count_changes(connection, project, ids, leases=1)
    return [Lease(query, until) for query in sorted(taken, key=_order)]


def _order(query: Query) -> tuple[int, int, int]:
    return (-query.spec.priority, query.spec.rank, query.id)


def next_queries_statement(
    project: Project, annotator: str, *, count: int, round_: str
) -> Select[Any]:
    """Return the statement that finds and locks the next queries with a vote to give.

    Its cost does not depend on the length of the queue: it reads a range of the index over the
    open queries. Those that other transactions are handing out are skipped.
    """
    held = exists().where(leases.c.query_id == queries.c.id, leases.c.annotator == annotator)
    statement = select(queries.c.id).where(
        queries.c.project_id == project.id,
        IS_OPEN,
        queries.c.skill == "",
        ~held,
        ~has_vote_of(annotator, queries.c.id),
    )
    if round_:
        statement = statement.where(queries.c.round == round_)
    return (
        statement.order_by(queries.c.priority.desc(), queries.c.rank, queries.c.id)
        .limit(count)
        .with_for_update(skip_locked=True, of=queries)
    )


async def _hold(
    connection: AsyncConnection, ids: list[int], annotator: str, *, until: datetime
) -> list[int]:
    """Insert leases on locked queries and return the ids of those that are new.

    The rows are locked by now, and this statement sees what was committed before they were: a
    query that the same annotator took or answered through another connection in between drops
    out here.
    """
    source = select(
        queries.c.id, literal(annotator), queries.c.project_id, literal(until, Instant)
    ).where(queries.c.id.in_(ids), ~has_vote_of(annotator, queries.c.id))
    statement = (
        insert_new(connection, leases)
        .from_select(["query_id", "annotator", "project_id", "expire_time"], source)
        .returning(leases.c.query_id)
    )
    return list((await connection.execute(statement)).scalars())


async def return_expired(connection: AsyncConnection, project: Project, *, now: datetime) -> None:
    """Put queries whose leases have ended back into the queue."""
    expired = (leases.c.project_id == project.id, leases.c.expire_time <= now)
    statement = (
        select(queries.c.id)
        .join_from(leases, queries, queries.c.id == leases.c.query_id)
        .where(*expired)
        .order_by(leases.c.expire_time)
        .limit(_EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True, of=queries)
    )
    ids = set((await connection.execute(statement)).scalars())
    if ids:
        await _drop(connection, project, and_(*expired, leases.c.query_id.in_(ids)))


async def release_queries(
    connection: AsyncConnection, project: Project, annotator: str, ids: Collection[int]
) -> int:
    """End the leases of `annotator` on the locked queries `ids`; return how many there were."""
    return await _drop(connection, project, _of(project, annotator, ids))


async def end_leases(
    connection: AsyncConnection, project: Project, annotator: str, ids: Collection[int]
) -> None:
    """Delete leases that `annotator` holds; the caller counts them off their queries."""
    await connection.execute(delete(leases).where(_of(project, annotator, ids)))


async def _drop(
    connection: AsyncConnection, project: Project, condition: ColumnElement[bool]
) -> int:
    """Delete leases on locked queries, and give their votes back to the queue."""
    statement = delete(leases).where(condition).returning(leases.c.query_id)
    dropped = Counter((await connection.execute(statement)).scalars())
    for count in sorted(set(dropped.values())):
        ids = [query for query, leases_ in dropped.items() if leases_ == count]
        await count_changes(connection, project, ids, leases=-count)
    return dropped.total()


async def renew_leases(
    connection: AsyncConnection,
    project: Project,
    annotator: str,
    ids: Collection[int],
    *,
    now: datetime,
    until: datetime,
) -> set[int]:
    """Let leases of `annotator` on the locked queries `ids` last until `until`.

    Returns:
        The queries that the annotator still holds; where a lease has ended, it stays so.
    """
    statement = (
        update(leases)
        .where(_of(project, annotator, ids), leases.c.expire_time > now)
        .values(expire_time=until)
        .returning(leases.c.query_id)
    )
    return set((await connection.execute(statement)).scalars())


async def held_queries(
    connection: AsyncConnection,
    project: Project,
    annotator: str,
    ids: Collection[int],
    *,
    now: datetime,
) -> set[int]:
    """Return which of the locked queries `ids` the annotator holds."""
    statement = select(leases.c.query_id).where(
        _of(project, annotator, ids), leases.c.expire_time > now
    )
    return set((await connection.execute(statement)).scalars())


def _of(project: Project, annotator: str, ids: Collection[int]) -> ColumnElement[bool]:
    return and_(
        leases.c.project_id == project.id,
        leases.c.annotator == annotator,
        leases.c.query_id.in_(ids),
    )
