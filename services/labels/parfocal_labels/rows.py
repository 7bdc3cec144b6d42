"""Rows of the tables as records, and back."""

from __future__ import annotations

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
from parfocal_runtime.box import Box


def project_from_row(row: Row[Any]) -> Project:
    """Return the project of a row of `projects`."""
    return Project(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        rules=Rules(
            task_kind=TaskKind(row.task_kind),
            classes=tuple(row.classes),
            votes_needed=row.votes_needed,
            consensus_rule=ConsensusRule(row.consensus_rule),
            votes_to_agree=row.votes_to_agree,
            tie_rule=TieRule(row.tie_rule),
            gold_share=row.gold_share,
            repeat_share=row.repeat_share,
            blind=row.blind,
        ),
        revision=row.revision,
        last_sequence=row.last_sequence,
        create_time=row.create_time,
        update_time=row.update_time,
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
    """Return the query of a row that has the columns of `queries`."""
    return Query(
        id=row.id,
        spec=QuerySpec(
            round=row.round,
            candidate_set=row.candidate_set,
            candidate=row.candidate,
            rank=row.rank,
            priority=row.priority,
            role=Role(row.role),
            strategy=row.strategy,
            reason=row.reason,
            model=_model(row),
            image=row.image,
            box=_box(row.box),
            patches=row.patches,
            skill=row.skill,
            gold=_gold(row),
        ),
        state=QueryState(row.state),
        votes=row.votes,
        create_time=row.create_time,
        skips=row.skips,
    )


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


def _model(row: Row[Any]) -> ModelVersion | None:
    return None if row.model_name is None else ModelVersion(row.model_name, row.model_version)


def _gold(row: Row[Any]) -> Answer | None:
    if row.gold_verdict is None and row.gold_class_name is None:
        return None
    return Answer(Verdict(row.gold_verdict) if row.gold_verdict else None, row.gold_class_name)


def _box(numbers: list[int] | None) -> Box | None:
    if numbers is None:
        return None
    z0, y0, x0, z1, y1, x1 = numbers
    return Box((z0, y0, x0), (z1, y1, x1))
