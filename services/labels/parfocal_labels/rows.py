"""Rows of the tables as records, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, or_

from parfocal_labels.answers import Answer, TaskKind, Verdict
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.records import (
    ModelVersion,
    Project,
    Query,
    QuerySpec,
    QueryState,
    Role,
    Rules,
    Snapshot,
)
from parfocal_labels.schema import EPOCH
from parfocal_runtime.box import Box
from parfocal_runtime.transactions import Row as RawRow


def project_from_row(row: Row[Any]) -> Project:
    """Return the project of a row of `projects`."""
    return _project(
        row._mapping,
        classes=row.classes,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def _project(
    row: Mapping[Any, Any] | RawRow,
    *,
    classes: list[str],
    create_time: datetime,
    update_time: datetime,
) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        display_name=row["display_name"],
        rules=Rules(
            task_kind=TaskKind(row["task_kind"]),
            classes=tuple(classes),
            votes_needed=row["votes_needed"],
            consensus_rule=ConsensusRule(row["consensus_rule"]),
            votes_to_agree=row["votes_to_agree"],
            tie_rule=TieRule(row["tie_rule"]),
            gold_share=row["gold_share"],
            repeat_share=row["repeat_share"],
            blind=bool(row["blind"]),
        ),
        revision=row["revision"],
        last_sequence=row["last_sequence"],
        create_time=create_time,
        update_time=update_time,
    )


def project_from_raw(row: RawRow) -> Project:
    """Return the project of a row of `projects` as the driver gives it."""
    return _project(
        row,
        classes=json.loads(row["classes"]),
        create_time=time_from_raw(row["create_time"]),
        update_time=time_from_raw(row["update_time"]),
    )


def rules_to_row(rules: Rules) -> dict[str, object]:
    """Return the columns of `projects` that hold its rules."""
    return {
        "task_kind": rules.task_kind.value,
        "classes": list(rules.classes),
        "votes_needed": rules.votes_needed,
        "consensus_rule": rules.consensus_rule.value,
        "votes_to_agree": rules.votes_to_agree,
        "tie_rule": rules.tie_rule.value,
        "gold_share": rules.gold_share,
        "repeat_share": rules.repeat_share,
        "blind": rules.blind,
    }


def query_from_row(row: Row[Any]) -> Query:
    """Return the query of a row that has the columns of `queries` and `STANDING`."""
    return Query(
        id=row.id,
        spec=QuerySpec(
            round=row.round,
            candidate_set=row.candidate_set,
            candidate=row.candidate,
            rank=row.rank,
            priority=row.priority,
            role=_ROLES[row.role],
            strategy=row.strategy,
            reason=row.reason,
            model=_model(row.model_name, row.model_version),
            image=row.image,
            box=_box(row.box) if row.box else None,
            patches=row.patches,
            skill=row.skill,
            gold=_gold(row.gold_verdict, row.gold_class_name),
        ),
        state=STATES[row.state],
        votes=row.votes,
        create_time=row.create_time,
        skips=row.skips,
    )


RAW_QUERY = (
    "q.id, s.state, s.votes, s.leases, s.skips, q.create_time, q.round, q.candidate_set,"
    " q.candidate, q.rank, q.priority, q.role, q.strategy, q.reason, q.model_name,"
    " q.model_version, q.image, q.box, q.patches, q.skill, q.gold_verdict, q.gold_class_name"
)
"""Columns of `queries` q and `standings` s, in the order of `query_from_raw`."""


def query_from_raw(row: RawRow) -> Query:
    """Return the query of a row as the driver gives it, with the columns `RAW_QUERY`."""
    # All at once, by place: each look-up by name would cost again.
    (
        number,
        state,
        votes,
        _leases,
        skips,
        create_time,
        round_,
        candidate_set,
        candidate,
        rank,
        priority,
        role,
        strategy,
        reason,
        model_name,
        model_version,
        image,
        box,
        patches,
        skill,
        gold_verdict,
        gold_class_name,
    ) = row
    spec = QuerySpec(
        round_,
        candidate_set,
        candidate,
        rank,
        priority,
        _ROLES[role],
        strategy,
        reason,
        _model(model_name, model_version),
        image,
        # Six numbers in brackets; as JSON they would take three times as long to read.
        _box([int(side) for side in box[1:-1].split(",")]) if box else None,
        patches,
        skill,
        _gold(gold_verdict, gold_class_name),
    )
    return Query(number, spec, STATES[state], votes, time_from_raw(create_time), skips)


# Thousands of rows a second: a look into a dictionary costs a tenth of a call of the enum.
_ROLES = {role.value: role for role in Role}
STATES = {state.value: state for state in QueryState}
"""States of queries by their words in the tables."""


# Queries are added thousands at a time, and share it.
@lru_cache(1024)
def time_from_raw(microseconds: int) -> datetime:
    """Return the time that is kept as microseconds since 1970 UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


def time_to_raw(time: datetime) -> int:
    """Return a time as microseconds since 1970 UTC."""
    return (time - EPOCH) // timedelta(microseconds=1)


def spec_to_row(spec: QuerySpec) -> dict[str, object]:
    """Return the columns of `queries` that say what it asks."""
    return {
        "round": spec.round,
        "candidate_set": spec.candidate_set,
        "candidate": spec.candidate,
        "rank": spec.rank,
        "priority": spec.priority,
        "role": spec.role.value,
        "strategy": spec.strategy,
        "reason": spec.reason,
        "model_name": spec.model.name if spec.model else None,
        "model_version": spec.model.version if spec.model else None,
        "image": spec.image,
        "box": [*spec.box.start, *spec.box.stop] if spec.box else None,
        "patches": spec.patches,
        "skill": spec.skill,
        "gold_verdict": spec.gold.verdict.value if spec.gold and spec.gold.verdict else None,
        "gold_class_name": spec.gold.class_name if spec.gold else None,
    }


def answer_from_row(row: Row[Any]) -> Answer:
    """Return the answer of a row that has the columns of `label_events`."""
    return Answer(Verdict(row.verdict) if row.verdict else None, row.class_name)


def has_answer(events: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `events` brings a label."""
    return or_(events.c.verdict.is_not(None), events.c.class_name.is_not(None))


def answer_from_raw(row: RawRow) -> Answer:
    """Return the answer of a row as the driver gives it, with the columns of `label_events`."""
    return Answer(Verdict(row["verdict"]) if row["verdict"] else None, row["class_name"])


def answer_to_row(answer: Answer) -> dict[str, object]:
    """Return the columns of `label_events` that hold an answer."""
    return {
        "verdict": answer.verdict.value if answer.verdict else None,
        "class_name": answer.class_name,
    }


def snapshot_from_row(row: Row[Any], *, project: str) -> Snapshot:
    """Return the snapshot of a row of `snapshots`."""
    return Snapshot(
        project=project,
        sha256=row.sha256,
        path=row.path,
        rows=row.rows,
        last_sequence=row.last_sequence,
        create_time=row.create_time,
    )


@lru_cache(128)
def _model(name: str | None, version: int | None) -> ModelVersion | None:
    return None if name is None or version is None else ModelVersion(name, version)


def _gold(verdict: str | None, class_name: str | None) -> Answer | None:
    if verdict is None and class_name is None:
        return None
    return Answer(Verdict(verdict) if verdict else None, class_name)


def _box(numbers: list[int]) -> Box:
    z0, y0, x0, z1, y1, x1 = numbers
    return Box((z0, y0, x0), (z1, y1, x1))
