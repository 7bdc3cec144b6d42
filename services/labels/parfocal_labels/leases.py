"""Leases: how people keep them and give them back; `queueing` hands them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.queries import open_places
from parfocal_labels.records import Project, Purpose
from parfocal_labels.schema import leases


async def release_queries(
    connection: AsyncConnection, project: Project, annotator: str, ids: Collection[int]
) -> int:
    """End the leases of `annotator` on the locked queries `ids`; return how many there were."""
    return await _drop(connection, project, _of(project, annotator, ids))


async def _drop(
    connection: AsyncConnection, project: Project, condition: ColumnElement[bool]
) -> int:
    """Delete leases on locked queries, and open the places that they took."""
    statement = delete(leases).where(condition).returning(leases.c.query_id, leases.c.purpose)
    dropped = list(await connection.execute(statement))
    places = Counter(row.query_id for row in dropped if row.purpose == Purpose.VOTE.value)
    for count in sorted(set(places.values())):
        ids = [query for query, taken in places.items() if taken == count]
        await open_places(connection, project, ids, count=count)
    return len(dropped)


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


def _of(project: Project, annotator: str, ids: Collection[int]) -> ColumnElement[bool]:
    return and_(
        leases.c.project_id == project.id,
        leases.c.annotator == annotator,
        leases.c.query_id.in_(ids),
    )
