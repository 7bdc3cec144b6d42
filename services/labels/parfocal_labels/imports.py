"""Labels that were given elsewhere, and the queries that they answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import Answer, checked_answer
from parfocal_labels.projects import take_sequences
from parfocal_labels.queries import add_queries, lock_queries, require_votable
from parfocal_labels.records import Project, Purpose, Query, QuerySpec
from parfocal_labels.rows import answer_to_row
from parfocal_labels.schema import label_events, queries
from parfocal_labels.settling import settle_queries
from parfocal_labels.votes import LABELS, stands

PREFIX = "import/"
"""Begins the annotator of every imported label, so that it is not taken for a caller."""

_Identity = tuple[str, str, int]


@dataclass(frozen=True)
class ImportedLabel:
    """A label that was given elsewhere.

    Attributes:
        spec: What was asked; round, candidate set and candidate find the query.
        answer: The answer.
        source: Who or what gave it.
        seconds: Seconds spent; 0 where not measured.
        tags: Free words.
    """

    spec: QuerySpec
    answer: Answer
    source: str
    seconds: float = 0.0
    tags: tuple[str, ...] = ()

    @property
    def annotator(self) -> str:
        """Whose vote it is."""
        return f"{PREFIX}{self.source}"

    @property
    def identity(self) -> _Identity:
        """What finds the query in its project."""
        return (self.spec.round, self.spec.candidate_set, self.spec.candidate)


async def import_labels(
    connection: AsyncConnection,
    project: Project,
    labels: Sequence[ImportedLabel],
    *,
    client: str,
    now: datetime,
) -> int:
    """Add labels, with the queries that the project lacks, and return how many were new.

    A label that the same source gave to the same query before, and that stands, stays as it is.
    A query that is decided gets one more vote.

    Args:
        connection: Open transaction.
        project: The project, held `NUMBERS`.
        labels: The labels, one for each query and source at most.
        client: The program that sends them.
        now: The present time.

    Raises:
        InvalidInput: If an answer is not what the project asks for.
        WrongState: If a query is a gold one (`ERROR_REASON_QUERY_ROLE_UNFIT`) or withdrawn
            (`ERROR_REASON_QUERY_WITHDRAWN`).
    """
    _require_fitting(project, labels)
    await add_queries(connection, project, [label.spec for label in labels], now=now)
    found = await _locked(connection, project, {label.identity for label in labels})
    for query in found.values():
        require_votable(project, query)
    present = await _present(connection, project, [query.id for query in found.values()])
    new = [
        (found[label.identity].id, label)
        for label in labels
        if (found[label.identity].id, label.annotator) not in present
    ]
    if new:
        await _insert(connection, project, new, client=client, now=now)
        await settle_queries(connection, project, sorted({query for query, _ in new}))
    return len(new)


def _require_fitting(project: Project, labels: Sequence[ImportedLabel]) -> None:
    rules = project.rules
    for number, label in enumerate(labels):
        checked_answer(
            label.answer,
            task_kind=rules.task_kind,
            classes=rules.classes,
            field=f"labels[{number}].answer",
        )


async def _locked(
    connection: AsyncConnection, project: Project, identities: Collection[_Identity]
) -> dict[_Identity, Query]:
    """Return the queries of these identities, locked until the transaction ends."""
    sets: dict[tuple[str, str], list[int]] = {}
    for round_, candidate_set, candidate in sorted(identities):
        sets.setdefault((round_, candidate_set), []).append(candidate)
    ids: list[int] = []
    for (round_, candidate_set), candidates in sets.items():
        rows = await connection.execute(
            select(queries.c.id).where(
                queries.c.project_id == project.id,
                queries.c.round == round_,
                queries.c.candidate_set == candidate_set,
                queries.c.candidate.in_(candidates),
            )
        )
        ids += rows.scalars()
    locked = await lock_queries(connection, project, ids)
    return {
        (query.spec.round, query.spec.candidate_set, query.spec.candidate): query
        for query in locked.values()
    }


async def _present(
    connection: AsyncConnection, project: Project, ids: Sequence[int]
) -> set[tuple[int, str]]:
    """Return which queries have a standing label of which source."""
    statement = select(LABELS.c.query_id, LABELS.c.annotator).where(
        LABELS.c.project_id == project.id,
        LABELS.c.query_id.in_(ids),
        LABELS.c.purpose == Purpose.IMPORT.value,
        stands(LABELS),
    )
    return {(row.query_id, row.annotator) for row in await connection.execute(statement)}


async def _insert(
    connection: AsyncConnection,
    project: Project,
    new: Sequence[tuple[int, ImportedLabel]],
    *,
    client: str,
    now: datetime,
) -> None:
    sequences = await take_sequences(connection, project, len(new))
    await connection.execute(
        insert(label_events),
        [
            {
                "project_id": project.id,
                "sequence": sequence,
                "query_id": query,
                "annotator": label.annotator,
                "seconds": label.seconds,
                "client": client,
                "create_time": now,
                "purpose": Purpose.IMPORT.value,
                "tags": list(label.tags) or None,
                **answer_to_row(label.answer),
            }
            for sequence, (query, label) in zip(sequences, new, strict=True)
        ],
    )
