"""Skips: queries that people cannot or would not judge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.leases import release_queries
from parfocal_labels.queries import lock_queries
from parfocal_labels.records import Project, Skip
from parfocal_labels.schema import leases, skips, standings
from parfocal_runtime.database import insert_new
from parfocal_runtime.errors import NotFound, Violation, WrongState


async def skip_queries(
    connection: AsyncConnection,
    project: Project,
    annotator: str,
    asked: Sequence[Skip],
    *,
    now: datetime,
) -> int:
    """End leases of `annotator` for good, all or none; return how many queries are skipped.

    Args:
        connection: Open transaction.
        project: The project, held `RULES`.
        annotator: Who skips.
        asked: What is skipped, and why; each query once.
        now: The present time.

    Raises:
        NotFound: If a query does not exist (`ERROR_REASON_QUERY_NOT_FOUND`).
        WrongState: If a query is not leased by `annotator` (`ERROR_REASON_QUERY_NOT_LEASED`);
            there is one violation for each.
    """
    ids = [skip.query for skip in asked]
    locked = await lock_queries(connection, project, ids)
    held = await connection.execute(
        select(leases.c.query_id).where(
            leases.c.project_id == project.id,
            leases.c.annotator == annotator,
            leases.c.query_id.in_(ids),
            leases.c.expire_time > now,
        )
    )
    _require_held(project, asked, locked=set(locked), held=set(held.scalars()))
    await release_queries(connection, project, annotator, ids)
    common = {"annotator": annotator, "project_id": project.id, "create_time": now}
    await connection.execute(
        insert_new(connection, skips),
        [{"query_id": skip.query, "reason": skip.reason, **common} for skip in asked],
    )
    await connection.execute(
        update(standings).where(standings.c.query_id.in_(ids)).values(skips=standings.c.skips + 1)
    )
    return len(ids)


def _require_held(
    project: Project, asked: Sequence[Skip], *, locked: set[int], held: set[int]
) -> None:
    faults = []
    for number, skip in enumerate(asked):
        name = f"projects/{project.name}/queries/{skip.query}"
        if skip.query not in locked:
            raise NotFound("ERROR_REASON_QUERY_NOT_FOUND", f"there is no {name}", query=name)
        if skip.query not in held:
            message = f"{name} is not leased by the caller, or the lease has run out"
            faults.append(
                (name, Violation(f"skips[{number}]", "ERROR_REASON_QUERY_NOT_LEASED", message))
            )
    if faults:
        name, first = faults[0]
        raise WrongState(
            first.reason,
            first.description,
            violations=[violation for _, violation in faults],
            query=name,
        )
