"""Labels: how they are read; `answering` makes them, and `corrections` take them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.paging import Page, PageRequest, page_of
from parfocal_labels.records import (
    EventKind,
    Label,
    LabelEvent,
    Project,
    Purpose,
)
from parfocal_labels.rows import (
    answer_from_row,
    has_answer,
    query_from_row,
)
from parfocal_labels.schema import STANDING, label_events, queries, standings
from parfocal_labels.votes import LABELS, RETRACTIONS, is_retraction_of
from parfocal_runtime.errors import NotFound

_EVENTS = label_events.alias("events")


async def find_labels(
    connection: AsyncConnection, project: Project, sequences: Sequence[int]
) -> list[Label]:
    """Return the labels of these sequence numbers, in their order.

    Raises:
        NotFound: If one is no label's (`ERROR_REASON_LABEL_NOT_FOUND`).
    """
    rows = await connection.execute(_labels(project).where(LABELS.c.sequence.in_(sequences)))
    found = {row.sequence: _label_from_row(row, retracted=bool(row.retracted)) for row in rows}
    for sequence in sequences:
        if sequence not in found:
            name = f"projects/{project.name}/labels/{sequence}"
            raise NotFound("ERROR_REASON_LABEL_NOT_FOUND", f"there is no {name}", label=name)
    return [found[sequence] for sequence in sequences]


async def list_labels(
    connection: AsyncConnection,
    project: Project,
    page: PageRequest,
    *,
    round_: str = "",
    annotator: str = "",
) -> Page[Label]:
    """Return labels by sequence, of all or of one annotator, those taken back among them."""
    statement = _labels(project).order_by(LABELS.c.sequence).limit(page.size + 1)
    if page.after:
        statement = statement.where(LABELS.c.sequence > page.after[0])
    if round_:
        statement = statement.where(queries.c.round == round_)
    if annotator:
        statement = statement.where(LABELS.c.annotator == annotator)
    rows = await connection.execute(statement)
    labels = [_label_from_row(row, retracted=bool(row.retracted)) for row in rows]
    return page_of(labels, page, key=lambda label: (label.sequence,))


async def list_events(
    connection: AsyncConnection, project: Project, *, after: int, count: int
) -> list[LabelEvent]:
    """Return at most `count` events after sequence number `after`, in order."""
    of_label = case((has_answer(_EVENTS), _EVENTS.c.sequence), else_=_EVENTS.c.retracts)
    statement = (
        select(
            queries,
            *STANDING,
            *_LABEL_COLUMNS,
            _EVENTS.c.retracts.is_not(None).label("takes_back"),
            has_answer(_EVENTS).label("brings"),
            _EVENTS.c.sequence.label("event_sequence"),
            _EVENTS.c.create_time.label("event_time"),
        )
        .select_from(_EVENTS)
        .join(
            LABELS,
            (LABELS.c.project_id == _EVENTS.c.project_id) & (LABELS.c.sequence == of_label),
        )
        .join(queries, queries.c.id == LABELS.c.query_id)
        .join(standings, standings.c.query_id == LABELS.c.query_id)
        .where(_EVENTS.c.project_id == project.id, _EVENTS.c.sequence > after)
        .order_by(_EVENTS.c.sequence)
        .limit(count)
    )
    return [_event_from_row(row) for row in await connection.execute(statement)]


_LABEL_COLUMNS = (
    LABELS.c.sequence,
    LABELS.c.annotator,
    LABELS.c.verdict,
    LABELS.c.class_name,
    LABELS.c.seconds,
    LABELS.c.client,
    LABELS.c.create_time.label("label_time"),
    LABELS.c.purpose,
    LABELS.c.tags,
    LABELS.c.retracts.label("revises"),
)


def _labels(project: Project) -> Select[Any]:
    return (
        select(
            queries,
            *STANDING,
            *_LABEL_COLUMNS,
            RETRACTIONS.c.sequence.is_not(None).label("retracted"),
        )
        .select_from(LABELS)
        .join(queries, queries.c.id == LABELS.c.query_id)
        .join(standings, standings.c.query_id == LABELS.c.query_id)
        .outerjoin(RETRACTIONS, is_retraction_of(RETRACTIONS, LABELS))
        .where(LABELS.c.project_id == project.id, has_answer(LABELS))
    )


def _label_from_row(row: Row[Any], *, retracted: bool) -> Label:
    return Label(
        sequence=row.sequence,
        query=query_from_row(row),
        annotator=row.annotator,
        answer=answer_from_row(row),
        seconds=row.seconds,
        client=row.client,
        create_time=row.label_time,
        retracted=retracted,
        purpose=Purpose(row.purpose),
        tags=tuple(row.tags or ()),
        revises=row.revises,
    )


def _event_from_row(row: Row[Any]) -> LabelEvent:
    if row.takes_back:
        kind = EventKind.REVISED if row.brings else EventKind.RETRACTED
    else:
        kind = EventKind.SUBMITTED
    return LabelEvent(
        sequence=row.event_sequence,
        kind=kind,
        # A label is told as it was acknowledged, whatever became of it later.
        label=_label_from_row(row, retracted=kind is EventKind.RETRACTED),
        create_time=row.event_time,
    )
