"""How many queries were decided as what, most of them counted by the database.

Where all votes on a query are the same answer, that is what it is decided as, whatever the rule.
Only where they differ, or a curator decided, votes are read one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, String, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import Answer, Verdict
from parfocal_labels.consensus import consensus
from parfocal_labels.records import Project, Purpose, QueryState, Role
from parfocal_labels.schema import WITH_STANDING, queries, standings
from parfocal_labels.votes import (
    COUNTED,
    IS_ADJUDICATION,
    LABELS,
    adjudications_on,
    stands,
    votes_on,
)

AnswerCounts = Counter[tuple[Role, Answer]]
"""Queries by role and answer."""

_CHUNK = 1000
_VERDICT, _CLASS = "v", "c"
# An answer as one word: equal words are equal answers.
_WORD = case(
    (LABELS.c.class_name.is_not(None), literal(_CLASS, String) + LABELS.c.class_name),
    else_=literal(_VERDICT, String) + LABELS.c.verdict,
)


async def count_answers(
    connection: AsyncConnection, project: Project, *, round_: str = ""
) -> AnswerCounts:
    """Return how many of the decided queries of a project or a round are decided as what.

    The rule of the project must decide each query by its own votes.
    """
    counts: AnswerCounts = Counter()
    asked = _answered(project, round_=round_)
    is_plain = (asked.c.decisions == 0) & (asked.c.least == asked.c.most)
    alike = (
        select(asked.c.role, asked.c.least, func.count())
        .where(is_plain)
        .group_by(asked.c.role, asked.c.least)
    )
    for role, word, count in await connection.execute(alike):
        counts[Role(role), _answer(word)] += count
    others = select(asked.c.id, asked.c.role).where(
        or_(asked.c.decisions > 0, asked.c.least != asked.c.most)
    )
    async for chunk in _chunks(connection, others.order_by(asked.c.id)):
        counts += await _count(connection, project, {row.id: Role(row.role) for row in chunk})
    return counts


def _answered(project: Project, *, round_: str) -> Any:
    """Return the decided queries, the least and the greatest of their answers, and decisions."""
    of_round = (queries.c.project_id == project.id) & (
        standings.c.state == QueryState.DECIDED.value
    )
    if round_:
        of_round &= queries.c.round == round_
    vote = case((LABELS.c.purpose.in_(COUNTED), _WORD))
    counted = [*COUNTED, Purpose.ADJUDICATION.value]
    return (
        select(
            queries.c.id,
            queries.c.role,
            func.min(vote).label("least"),
            func.max(vote).label("most"),
            func.sum(case((IS_ADJUDICATION, 1), else_=0)).label("decisions"),
        )
        .select_from(WITH_STANDING.join(LABELS, LABELS.c.query_id == queries.c.id))
        .where(of_round, LABELS.c.purpose.in_(counted), stands(LABELS))
        .group_by(queries.c.id, queries.c.role)
        .subquery()
    )


async def _chunks(
    connection: AsyncConnection, statement: Select[Any]
) -> AsyncIterator[Sequence[Row[Any]]]:
    rows = (await connection.execute(statement)).all()
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


async def _count(
    connection: AsyncConnection, project: Project, roles: dict[int, Role]
) -> AnswerCounts:
    votes = await votes_on(connection, roles)
    decisions = await adjudications_on(connection, roles)
    counts: AnswerCounts = Counter()
    for query, role in roles.items():
        found = consensus(votes[query], project.rules, adjudication=decisions.get(query))
        counts[role, found.answer or Answer()] += 1
    return counts


def _answer(word: str) -> Answer:
    kind, name = word[0], word[1:]
    return Answer(class_name=name) if kind == _CLASS else Answer(Verdict(name))
