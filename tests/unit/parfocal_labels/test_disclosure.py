from __future__ import annotations

from datetime import UTC, datetime

import pytest

from parfocal_labels.answers import FALSE, TRUE, TaskKind
from parfocal_labels.disclosure import SEES_ALL, Reader
from parfocal_labels.records import (
    Label,
    ModelVersion,
    Project,
    Purpose,
    Query,
    QuerySpec,
    QueryState,
    Role,
    Rules,
)
from parfocal_runtime.errors import PermissionDenied

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA, CURATOR = Reader("ada", sees_all=False), Reader("cur", sees_all=True)


def project(*, blind: bool) -> Project:
    return Project(1, "vnc", "", Rules(TaskKind.VERIFY, blind=blind), 1, 0, NOW, NOW)


def query(role: Role = Role.RANDOM, state: QueryState = QueryState.OPEN) -> Query:
    spec = QuerySpec(
        "r1",
        "set",
        7,
        rank=3,
        role=role,
        strategy="two-stream",
        reason='{"cell": 1}',
        model=ModelVersion("unet", 2),
        gold=FALSE if role is Role.GOLD else None,
    )
    return Query(1, spec, state, votes=2, create_time=NOW, skips=1)


def label(purpose: Purpose) -> Label:
    return Label(1, query(), "ada", TRUE, 1.0, "", NOW, retracted=False, purpose=purpose)


@pytest.mark.parametrize("blind", [True, False])
def test_nothing_is_hidden_from_curators(blind: bool) -> None:
    gold, each = query(Role.GOLD, QueryState.GOLD), label(Purpose.GOLD)

    for reader in (CURATOR, SEES_ALL):
        assert reader.query(gold, project(blind=blind)) == gold
        assert reader.label(each, project(blind=blind)) == each
        assert reader.labels_of(project(blind=blind)) == ""
        reader.require_open(project(blind=blind))


def test_an_open_project_shows_annotators_all_but_gold() -> None:
    shown = ADA.query(query(), project(blind=False))

    assert shown == query()
    assert ADA.labels_of(project(blind=False)) == ""
    ADA.require_open(project(blind=False))


def test_gold_passes_for_a_query_of_the_strategy() -> None:
    shown = ADA.query(query(Role.GOLD, QueryState.GOLD), project(blind=False))

    assert (shown.spec.role, shown.spec.gold, shown.state) == (
        Role.STRATEGY,
        None,
        QueryState.OPEN,
    )


@pytest.mark.parametrize("purpose", [Purpose.GOLD, Purpose.REPEAT])
def test_answers_to_gold_and_repeats_pass_for_votes(purpose: Purpose) -> None:
    assert ADA.label(label(purpose), project(blind=False)).purpose is Purpose.VOTE


@pytest.mark.parametrize("purpose", [Purpose.ADJUDICATION, Purpose.IMPORT])
def test_other_purposes_are_no_secret(purpose: Purpose) -> None:
    assert ADA.label(label(purpose), project(blind=False)).purpose is purpose


def test_a_blind_project_hides_every_hint() -> None:
    shown = ADA.query(query(), project(blind=True))

    spec = shown.spec
    assert (spec.strategy, spec.reason, spec.model, shown.votes, shown.skips) == (
        "",
        "",
        None,
        0,
        0,
    )
    assert (spec.candidate, spec.rank, spec.role) == (7, 3, Role.RANDOM)


def test_a_blind_project_shows_ones_own_labels_only() -> None:
    assert ADA.labels_of(project(blind=True)) == "ada"
    with pytest.raises(PermissionDenied) as caught:
        ADA.require_open(project(blind=True))

    assert caught.value.reason == "ERROR_REASON_PROJECT_BLIND"
    assert caught.value.metadata == {"project": "vnc"}
