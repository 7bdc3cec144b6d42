"""Corrections: labels that are taken back or replaced, and a curator's last word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import Answer, checked_answer
from parfocal_labels.leases import release_queries
from parfocal_labels.projects import take_sequences
from parfocal_labels.queries import lock_queries, require_votable
from parfocal_labels.records import Label, Project, Purpose, Vote
from parfocal_labels.rows import answer_to_row
from parfocal_labels.schema import label_events
from parfocal_labels.settling import settle_queries
from parfocal_runtime.errors import NotFound, PermissionDenied, WrongState


@dataclass(frozen=True)
class _Event:
    query: int
    annotator: str
    purpose: Purpose
    retracts: int | None = None
    vote: Vote | None = None
    client: str = ""


def require_own(project: Project, label: Label, *, caller: str) -> None:
    """Return if `label` is the caller's.

    Raises:
        PermissionDenied: If it is somebody else's (`ERROR_REASON_LABEL_NOT_YOURS`).
    """
    if label.annotator != caller:
        name = f"projects/{project.name}/labels/{label.sequence}"
        raise PermissionDenied(
            "ERROR_REASON_LABEL_NOT_YOURS",
            f"{name} is somebody else's; a curator may take it back",
            label=name,
        )


async def retract_label(
    connection: AsyncConnection, project: Project, label: Label, *, caller: str, now: datetime
) -> None:
    """Note that `label`, which stands, is taken back; `project` is held `NUMBERS`."""
    event = _Event(label.query.id, caller, label.purpose, retracts=label.sequence)
    await _note(connection, project, event, now=now)
    # Whoever was to answer once more may now be handed the query as one that they did not answer.
    await release_queries(connection, project, label.annotator, [label.query.id])


async def revise_label(
    connection: AsyncConnection,
    project: Project,
    label: Label,
    vote: Vote,
    *,
    client: str,
    now: datetime,
) -> int:
    """Put another answer in the place of `label` and return the sequence of the new one.

    Args:
        connection: Open transaction.
        project: The project, held `NUMBERS`.
        label: The label.
        vote: The new answer; the query is the label's.
        client: The program that sends it.
        now: The present time.

    Raises:
        InvalidInput: If the answer is not what the project asks for.
        WrongState: If the label was taken back or replaced (`ERROR_REASON_LABEL_RETRACTED`).
    """
    if label.retracted:
        name = f"projects/{project.name}/labels/{label.sequence}"
        raise WrongState(
            "ERROR_REASON_LABEL_RETRACTED", f"{name} was taken back already", label=name
        )
    _require_fitting(project, vote)
    event = _Event(
        label.query.id,
        label.annotator,
        label.purpose,
        retracts=label.sequence,
        vote=vote,
        client=client,
    )
    return await _note(connection, project, event, now=now)


async def adjudicate_query(
    connection: AsyncConnection,
    project: Project,
    vote: Vote,
    *,
    curator: str,
    client: str,
    now: datetime,
) -> int:
    """Decide a query, whatever its votes say, and return the sequence of the label.

    Args:
        connection: Open transaction.
        project: The project, held `NUMBERS`.
        vote: The query and the answer.
        curator: Who decides.
        client: The program that sends it.
        now: The present time.

    Raises:
        InvalidInput: If the answer is not what the project asks for.
        NotFound: If the query does not exist (`ERROR_REASON_QUERY_NOT_FOUND`).
        WrongState: If it is a gold query (`ERROR_REASON_QUERY_ROLE_UNFIT`) or withdrawn
            (`ERROR_REASON_QUERY_WITHDRAWN`).
    """
    _require_fitting(project, vote)
    name = f"projects/{project.name}/queries/{vote.query}"
    query = (await lock_queries(connection, project, [vote.query])).get(vote.query)
    if query is None:
        raise NotFound("ERROR_REASON_QUERY_NOT_FOUND", f"there is no {name}", query=name)
    require_votable(project, query)
    event = _Event(vote.query, curator, Purpose.ADJUDICATION, vote=vote, client=client)
    return await _note(connection, project, event, now=now)


def _require_fitting(project: Project, vote: Vote) -> None:
    rules = project.rules
    checked_answer(vote.answer, task_kind=rules.task_kind, classes=rules.classes, field="answer")


async def _note(
    connection: AsyncConnection, project: Project, event: _Event, *, now: datetime
) -> int:
    """Write an event, settle its query, and return its sequence number."""
    await lock_queries(connection, project, [event.query])
    [sequence] = await take_sequences(connection, project, 1)
    vote = event.vote
    await connection.execute(
        insert(label_events).values(
            project_id=project.id,
            sequence=sequence,
            retracts=event.retracts,
            query_id=event.query,
            annotator=event.annotator,
            seconds=vote.seconds if vote else 0.0,
            client=event.client,
            create_time=now,
            purpose=event.purpose.value,
            tags=list(vote.tags) if vote and vote.tags else None,
            **answer_to_row(vote.answer if vote else Answer()),
        )
    )
    await settle_queries(connection, project, [event.query])
    return sequence
