"""Figures of every project for those who watch over the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.records import QueryState
from parfocal_labels.rows import has_answer
from parfocal_labels.schema import label_events, leases, projects, standings


@dataclass(frozen=True)
class ProjectStatistics:
    """Figures of one project.

    Attributes:
        project: Its name.
        pool: Queries that are not withdrawn.
        unlabelled: Queries that miss votes.
        leased: Leases that people hold now.
        labels: Labels submitted, those among them that were taken back later too.
        retractions: Labels taken back.
        queue_age_seconds: Age of the oldest query that misses votes; 0 where there is none.
    """

    project: str
    pool: int
    unlabelled: int
    leased: int
    labels: int
    retractions: int
    queue_age_seconds: float


async def project_statistics(
    connection: AsyncConnection, *, now: datetime
) -> list[ProjectStatistics]:
    """Return the figures of every project, by name."""
    waits = standings.c.state.in_([QueryState.OPEN.value, QueryState.HELD.value])
    of_queries = (
        select(
            standings.c.project_id,
            func.count().label("pool"),
            func.sum(case((waits, 1), else_=0)).label("unlabelled"),
            func.min(case((waits, standings.c.create_time))).label("oldest"),
        )
        .where(standings.c.state != QueryState.WITHDRAWN.value)
        .group_by(standings.c.project_id)
        .subquery()
    )
    of_leases = (
        select(leases.c.project_id, func.count().label("leased"))
        .where(leases.c.expire_time > now)
        .group_by(leases.c.project_id)
        .subquery()
    )
    of_retractions = (
        select(label_events.c.project_id, func.count().label("retractions"))
        .where(label_events.c.retracts.is_not(None), ~has_answer(label_events))
        .group_by(label_events.c.project_id)
        .subquery()
    )
    statement = (
        select(
            projects.c.name,
            projects.c.last_sequence,
            of_queries.c.pool,
            of_queries.c.unlabelled,
            of_queries.c.oldest,
            of_leases.c.leased,
            of_retractions.c.retractions,
        )
        .outerjoin(of_queries, of_queries.c.project_id == projects.c.id)
        .outerjoin(of_leases, of_leases.c.project_id == projects.c.id)
        .outerjoin(of_retractions, of_retractions.c.project_id == projects.c.id)
        .order_by(projects.c.name)
    )
    return [
        ProjectStatistics(
            project=row.name,
            pool=row.pool or 0,
            unlabelled=row.unlabelled or 0,
            leased=row.leased or 0,
            labels=row.last_sequence - (row.retractions or 0),
            retractions=row.retractions or 0,
            queue_age_seconds=(now - row.oldest).total_seconds() if row.oldest else 0.0,
        )
        for row in await connection.execute(statement)
    ]
