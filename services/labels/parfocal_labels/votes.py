"""Votes: the labels that stand, that is, which nobody has taken back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Exists, FromClause, Select, and_, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import Answer
from parfocal_labels.ballots import BallotBox, BallotTable
from parfocal_labels.consensus import Ballot
from parfocal_labels.records import Project, Purpose
from parfocal_labels.rows import answer_from_row, has_answer
from parfocal_labels.schema import label_events, queries
from parfocal_runtime.tasks import in_thread

# One name for each part that an event can play in a statement.
LABELS = label_events.alias("labels")
RETRACTIONS = label_events.alias("retractions")

# What a label must be for to be one of the votes that a query needs.
COUNTED = (Purpose.VOTE.value, Purpose.IMPORT.value)
_ANSWER = (LABELS.c.verdict, LABELS.c.class_name)
# Between two pages of this length others get their turn.
_VOTES_AT_ONCE = 2000

IS_ADJUDICATION = LABELS.c.purpose == Purpose.ADJUDICATION.value


def is_retraction_of(retractions: FromClause, labels: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `retractions` takes back a row of `labels`."""
    return and_(
        retractions.c.project_id == labels.c.project_id,
        retractions.c.retracts == labels.c.sequence,
    )


def stands(labels: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `labels` is a label and was not taken back."""
    return and_(has_answer(labels), ~exists().where(is_retraction_of(RETRACTIONS, labels)))


def has_vote_of(annotator: str, query_id: ColumnElement[int]) -> Exists:
    """Return the condition that a query has a vote of `annotator`."""
    return exists().where(
        LABELS.c.query_id == query_id, LABELS.c.annotator == annotator, stands(LABELS)
    )


async def votes_on(connection: AsyncConnection, ids: Collection[int]) -> dict[int, list[Ballot]]:
    """Return the votes that stand on each of the queries `ids`, earliest first.

    A revision has the place of the vote that it replaces: the first vote stays the first.
    """
    votes: dict[int, dict[int, Ballot]] = {query: {} for query in ids}
    places: dict[int, int] = {}
    for row in await connection.execute(history_of(ids)):
        place = row.sequence if row.retracts is None else places[row.retracts]
        if row.brings:
            places[row.sequence] = place
            votes[row.query_id][place] = Ballot(row.annotator, answer_from_row(row))
        else:
            del votes[row.query_id][place]
    return {query: list(ballots.values()) for query, ballots in votes.items()}


async def adjudications_on(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Answer]:
    """Return the last word of a curator on those of the queries `ids` that have one."""
    rows = await connection.execute(standing_on(ids, IS_ADJUDICATION))
    return {row.query_id: answer_from_row(row) for row in rows}


def history_of(ids: Collection[int]) -> Select[Any]:
    """Return the statement that finds all that happened to votes on queries, in order."""
    # The project is not named, lest SQLite goes through all its events in their order.
    return (
        select(
            LABELS.c.sequence,
            LABELS.c.retracts,
            LABELS.c.query_id,
            LABELS.c.annotator,
            *_ANSWER,
            has_answer(LABELS).label("brings"),
        )
        .where(LABELS.c.query_id.in_(ids), LABELS.c.purpose.in_(COUNTED))
        .order_by(LABELS.c.sequence)
    )


def standing_on(ids: Collection[int], purpose: ColumnElement[bool]) -> Select[Any]:
    """Return the statement that finds labels which stand on queries, earliest first."""
    # The project is not named, lest SQLite goes through all its events in their order.
    return (
        select(LABELS.c.query_id, LABELS.c.annotator, *_ANSWER)
        .where(LABELS.c.query_id.in_(ids), purpose, stands(LABELS))
        .order_by(LABELS.c.sequence)
    )


async def ballot_table(
    connection: AsyncConnection, project: Project, *, round_: str = ""
) -> BallotTable:
    """Return all votes that stand in a project or one of its rounds."""
    of_project = queries.c.project_id == project.id
    if round_:
        of_project &= queries.c.round == round_
    statement: Select[Any] = (
        select(LABELS.c.sequence, LABELS.c.query_id, LABELS.c.annotator, *_ANSWER)
        .join(queries, queries.c.id == LABELS.c.query_id)
        .where(
            LABELS.c.project_id == project.id,
            of_project,
            LABELS.c.purpose.in_(COUNTED),
            stands(LABELS),
        )
        .order_by(LABELS.c.sequence)
        .limit(_VOTES_AT_ONCE)
    )
    box, after = BallotBox(), 0
    while rows := (await connection.execute(statement.where(LABELS.c.sequence > after))).all():
        for row in rows:
            box.add(row.query_id, row.annotator, answer_from_row(row))
        after = rows[-1].sequence
    return await in_thread(box.counted)
