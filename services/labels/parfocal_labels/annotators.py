"""Annotators: what they may judge, and how well they do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    func,
    select,
    union,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.paging import Page, PageRequest, page_of
from parfocal_labels.records import Project, Purpose
from parfocal_labels.schema import annotators, label_events, queries, skips
from parfocal_labels.votes import COUNTED, LABELS, stands
from parfocal_runtime.database import insert_new


@dataclass(frozen=True)
class Annotator:
    """Somebody who answers queries of a project.

    Attributes:
        name: Who.
        skills: What they may judge beside queries that take no skill.
        suspended: Whether they are handed queries at all.
        labels: Their labels that stand, gold and repeats left out.
        gold_answered: Gold queries that they answered.
        gold_right: Of those, the ones that they answered right.
        repeats_answered: Repeats that they answered.
        repeats_same: Of those, the ones that they answered as before.
        skipped: Queries that they skipped.
    """

    name: str
    skills: tuple[str, ...] = ()
    suspended: bool = False
    labels: int = 0
    gold_answered: int = 0
    gold_right: int = 0
    repeats_answered: int = 0
    repeats_same: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class AnnotatorChange:
    """New values for an annotator; None keeps what is there."""

    name: str
    skills: tuple[str, ...] | None = None
    suspended: bool | None = None


async def change_annotator(
    connection: AsyncConnection, project: Project, change: AnnotatorChange, *, now: datetime
) -> Annotator:
    """Give an annotator new values, add them if the project does not know them, return them."""
    new = {
        "skills": [],
        "suspended": False,
        "handed_out": 0,
        "gold_out": 0,
        "repeats_out": 0,
        "create_time": now,
    }
    key = {"project_id": project.id, "name": change.name}
    await connection.execute(insert_new(connection, annotators).values(**key, **new))
    given = {"skills": change.skills, "suspended": change.suspended}
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value is not None
    }
    if values:
        await connection.execute(
            update(annotators)
            .where(annotators.c.project_id == project.id, annotators.c.name == change.name)
            .values(**values)
        )
    [annotator] = await _described(connection, project, [change.name])
    return annotator


async def list_annotators(
    connection: AsyncConnection, project: Project, page: PageRequest
) -> Page[Annotator]:
    """Return those who were given skills, were suspended, answered or skipped, by name."""
    after = str(page.after[0]) if page.after else ""
    names = (await connection.execute(_names(project, after=after, count=page.size + 1))).scalars()
    listed = page_of(list(names), page, key=lambda name: (name,))
    return Page(tuple(await _described(connection, project, listed.items)), listed.next_key)


def _names(project: Project, *, after: str, count: int) -> Select[Any]:
    """Return the statement that finds the names after `after`, in the order of the database."""
    sources = [
        select(annotators.c.name).where(annotators.c.project_id == project.id),
        _different_names(project),
        select(skips.c.annotator).where(skips.c.project_id == project.id),
    ]
    known = union(*sources).subquery()
    [name] = known.c
    return select(name).where(name > after).order_by(name).limit(count)


def _different_names(project: Project) -> Select[Any]:
    """Return the statement that finds who labelled: one look into the index for each of them."""
    of_project = label_events.c.project_id == project.id
    first = select(func.min(label_events.c.annotator).label("name")).where(of_project)
    found = first.cte(recursive=True)
    following = (
        select(func.min(label_events.c.annotator))
        .where(of_project, label_events.c.annotator > found.c.name)
        .scalar_subquery()
    )
    found = found.union_all(select(following).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None))


async def _described(
    connection: AsyncConnection, project: Project, names: Collection[str]
) -> list[Annotator]:
    settings = await connection.execute(
        select(annotators).where(
            annotators.c.project_id == project.id, annotators.c.name.in_(names)
        )
    )
    given = {
        row.name: {"skills": tuple(row.skills), "suspended": row.suspended} for row in settings
    }
    labels = await connection.execute(_label_counts(project, names))
    counts = {row.annotator: {kind: getattr(row, kind) for kind in _KINDS} for row in labels}
    skipped = await connection.execute(_skip_counts(project, names))
    skip_counts = {row.annotator: row.skipped for row in skipped}
    return [
        Annotator(
            name, **given.get(name, {}), **counts.get(name, {}), skipped=skip_counts.get(name, 0)
        )
        for name in names
    ]


def _skip_counts(project: Project, names: Collection[str]) -> Select[Any]:
    return (
        select(skips.c.annotator, func.count().label("skipped"))
        .where(skips.c.project_id == project.id, skips.c.annotator.in_(names))
        .group_by(skips.c.annotator)
    )


def _label_counts(project: Project, names: Collection[str]) -> Select[Any]:
    counts = [func.sum(case((kind, 1), else_=0)).label(name) for name, kind in _KINDS.items()]
    return (
        select(LABELS.c.annotator, *counts)
        .join(queries, queries.c.id == LABELS.c.query_id)
        .where(LABELS.c.project_id == project.id, LABELS.c.annotator.in_(names), stands(LABELS))
        .group_by(LABELS.c.annotator)
    )


def _same_answer(
    first: Collection[ColumnElement[Any]], second: Collection[ColumnElement[Any]]
) -> ColumnElement[bool]:
    return and_(*(one.is_not_distinct_from(two) for one, two in zip(first, second, strict=True)))


_FIRSTS = label_events.alias("firsts")
_ANSWER = (LABELS.c.verdict, LABELS.c.class_name)
_IS_GOLD = LABELS.c.purpose == Purpose.GOLD.value
_IS_REPEAT = LABELS.c.purpose == Purpose.REPEAT.value
_IS_AS_BEFORE = exists().where(
    _FIRSTS.c.query_id == LABELS.c.query_id,
    _FIRSTS.c.annotator == LABELS.c.annotator,
    _FIRSTS.c.purpose.in_(COUNTED),
    _same_answer((_FIRSTS.c.verdict, _FIRSTS.c.class_name), _ANSWER),
    stands(_FIRSTS),
)
_KINDS = {
    "labels": LABELS.c.purpose.not_in([Purpose.GOLD.value, Purpose.REPEAT.value]),
    "gold_answered": _IS_GOLD,
    "gold_right": and_(
        _IS_GOLD, _same_answer((queries.c.gold_verdict, queries.c.gold_class_name), _ANSWER)
    ),
    "repeats_answered": _IS_REPEAT,
    "repeats_same": and_(_IS_REPEAT, _IS_AS_BEFORE),
}
