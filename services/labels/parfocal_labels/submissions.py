"""What became of a call with a request id, so that the same call again changes nothing."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.records import Project
from parfocal_labels.schema import submissions
from parfocal_runtime.errors import AlreadyExists


def content_sha256(*content: object) -> str:
    """Return a digest of what a call asks for; equal for equal content only.

    Args:
        *content: Names, numbers, enums and frozen dataclasses of them.
    """
    return hashlib.sha256(repr(content).encode()).hexdigest()


async def earlier_outcome(
    connection: AsyncConnection, project: Project, *, caller: str, request_id: str, content: str
) -> Any | None:
    """Return what the same call by `caller` led to before, None where there was none.

    Args:
        connection: Open transaction.
        project: The project, held `NUMBERS`, so that the same call twice at once takes turns.
        caller: Who calls.
        request_id: What names the call among the caller's.
        content: Digest of what it asks for.

    Raises:
        AlreadyExists: If the earlier call asked for something else
            (`ERROR_REASON_REQUEST_ID_REUSED`).
    """
    statement = select(submissions.c.content_sha256, submissions.c.outcome).where(
        submissions.c.project_id == project.id,
        submissions.c.caller == caller,
        submissions.c.request_id == request_id,
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if row.content_sha256 != content:
        raise reused(request_id)
    return row.outcome


def reused(request_id: str) -> AlreadyExists:
    """Return the error of a request id that stands for something else."""
    return AlreadyExists(
        "ERROR_REASON_REQUEST_ID_REUSED",
        f"request_id {request_id!r} was used with other content",
        request_id=request_id,
    )


async def remember_outcome(
    connection: AsyncConnection,
    project: Project,
    *,
    caller: str,
    request_id: str,
    content: str,
    outcome: object,
    now: datetime,
) -> None:
    """Note what a call led to, in the transaction that did it; `outcome` is JSON."""
    await connection.execute(
        insert(submissions).values(
            project_id=project.id,
            caller=caller,
            request_id=request_id,
            content_sha256=content,
            outcome=json.loads(json.dumps(outcome)),
            create_time=now,
        )
    )
