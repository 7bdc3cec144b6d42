from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.labels.v1 import labels_service_pb2, project_pb2, query_pb2
from parfocal_labels import fields
from parfocal_labels.annotators import AnnotatorChange
from parfocal_labels.records import QueryState
from parfocal_labels.requests import (
    adjudication_from_pb,
    annotator_change_from_pb,
    change_from_pb,
    revision_from_pb,
    revision_of_label_from_pb,
    rules_from_pb,
    specs_from_pb,
    states_from_pb,
    votes_from_pb,
)
from parfocal_runtime.errors import InvalidInput

int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["r1", "two-stream", "{}", "projects/vnc/queries/1", "projects/vnc/annotators/%61", "\0"]
)
annotators = st.builds(
    project_pb2.Annotator, name=words, skills=st.lists(words, max_size=3), suspended=st.booleans()
)
indices = st.builds(geometry_pb2.Index3, z=int64, y=int64, x=int64)
boxes = st.builds(geometry_pb2.Box, start=indices, stop=indices)
models = st.builds(artifact_pb2.ModelVersion, name=words, version=int64)
queries = st.builds(
    query_pb2.Query,
    round=words,
    candidate_set=words,
    candidate=int64,
    rank=int32,
    priority=int32,
    role=int32,
    strategy=words,
    reason=words,
    model=st.none() | models,
    image=words,
    box=st.none() | boxes,
    patches=words,
    skill=words,
    gold_verdict=st.integers(0, 5),
    gold_class_name=words,
)
projects = st.builds(
    project_pb2.Project,
    display_name=words,
    task_kind=st.integers(0, 3),
    classes=st.lists(words, max_size=3),
    votes_needed=int32 | st.integers(0, 99),
    consensus_rule=st.integers(0, 5),
    votes_to_agree=int32 | st.integers(0, 99),
    tie_rule=st.integers(0, 4),
    gold_share=st.floats(),
    repeat_share=st.floats() | st.floats(0, 0.5),
    blind=st.booleans(),
    etag=words,
)
answers = st.builds(
    labels_service_pb2.Answer,
    query=words,
    verdict=st.integers(0, 5),
    class_name=words,
    seconds=st.floats(),
    tags=st.lists(words, max_size=17),
)


def refusal(convert: Any, *given_: Any, **more: Any) -> InvalidInput | None:
    try:
        convert(*given_, **more)
    except InvalidInput as error:
        return error
    return None


def refused_by_reason(convert: Any, *given_: Any, **more: Any) -> None:
    """Convert; what cannot be converted must be refused with a reason, and in no other way."""
    error = refusal(convert, *given_, **more)
    if error is not None:
        assert re.fullmatch("ERROR_REASON_[A-Z_]+", error.reason)
        assert error.metadata["field"]


@given(st.lists(queries, max_size=3))
def test_any_queries_are_taken_or_refused(messages: list[query_pb2.Query]) -> None:
    refused_by_reason(specs_from_pb, messages)


@given(projects)
def test_any_project_is_taken_or_refused(message: project_pb2.Project) -> None:
    refused_by_reason(rules_from_pb, message)
    revision_from_pb(message)


@given(
    projects,
    st.lists(st.sampled_from(["classes", "votes_needed", "tie_rule", "name", ""]), max_size=2),
)
def test_any_change_is_taken_or_refused(message: project_pb2.Project, paths: list[str]) -> None:
    request = labels_service_pb2.UpdateProjectRequest(
        project=message, update_mask=FieldMask(paths=paths)
    )
    refused_by_reason(change_from_pb, request)


@given(st.lists(answers, max_size=3))
def test_any_answers_are_taken_or_refused(messages: list[labels_service_pb2.Answer]) -> None:
    refused_by_reason(votes_from_pb, messages, project="vnc")


@given(words)
def test_any_name_is_taken_or_refused(name: str) -> None:
    for parse in (fields.project_of, fields.label_of):
        refused_by_reason(parse, name, "name")


@given(answers)
def test_any_decision_or_revision_is_taken_or_refused(message: labels_service_pb2.Answer) -> None:
    refused_by_reason(adjudication_from_pb, message)
    refused_by_reason(revision_of_label_from_pb, message)


@given(annotators, st.lists(st.sampled_from(["skills", "suspended", "name", ""]), max_size=2))
def test_any_annotator_is_taken_or_refused(
    message: project_pb2.Annotator, paths: list[str]
) -> None:
    request = labels_service_pb2.UpdateAnnotatorRequest(
        annotator=message, update_mask=FieldMask(paths=paths)
    )
    refused_by_reason(annotator_change_from_pb, request)


@given(int32)
def test_any_state_is_taken_or_refused(state: Any) -> None:
    refused_by_reason(states_from_pb, state)


def test_an_open_query_may_be_held_by_those_who_answer_it() -> None:
    assert states_from_pb(query_pb2.QUERY_STATE_OPEN) == (QueryState.OPEN, QueryState.HELD)
    assert states_from_pb(query_pb2.QUERY_STATE_UNSPECIFIED) == ()


def test_an_empty_mask_changes_skills_and_suspension() -> None:
    message = project_pb2.Annotator(name="projects/vnc/annotators/ada", skills=["glia", "glia"])
    request = labels_service_pb2.UpdateAnnotatorRequest(annotator=message)

    project, change = annotator_change_from_pb(request)

    assert project == "vnc"
    assert change == AnnotatorChange("ada", skills=("glia",), suspended=False)


@pytest.mark.parametrize("etag", ["x", "1.5", "-1", "٣", "9" * 5000])
def test_an_etag_that_no_project_has_matches_none(etag: str) -> None:
    assert revision_from_pb(project_pb2.Project(etag=etag)) == 0
