from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.labels.v1 import project_pb2, query_pb2
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_runtime.errors import DomainError
from parfocal_runtime.layout import checked_name
from parfocal_runtime.places import project_finder
from parfocal_runtime.store.paths import path_from_uri


def test_the_project_is_the_second_part_of_a_name() -> None:
    find = project_finder(names=["parent"])

    assert find(labels.ListLabelsRequest(parent="projects/vnc")) == ("vnc",)
    assert find(labels.ListLabelsRequest(parent="projects/vnc/rounds/r1")) == ("vnc",)
    assert find(labels.ListLabelsRequest()) == ("",)


def test_a_name_may_stand_in_a_message_of_the_message() -> None:
    find = project_finder(names=["project.name"])
    request = labels.UpdateProjectRequest(project=project_pb2.Project(name="projects/vnc"))

    assert find(request) == ("vnc",)
    assert find(labels.UpdateProjectRequest()) == ("",)


def test_a_bare_name_is_a_project() -> None:
    find = project_finder(ids=["project_id"])

    assert find(labels.CreateProjectRequest(project_id="vnc")) == ("vnc",)
    assert find(labels.CreateProjectRequest(project_id="projects/vnc")) == ("",)


def test_every_item_of_a_repeated_field_counts_and_what_is_not_set_does_not() -> None:
    find = project_finder(names=["parent"], paths=["queries.image", "queries.patches"])
    queries = [
        query_pb2.Query(image="projects/a/images/x"),
        query_pb2.Query(patches="projects/b/candidates/y"),
        query_pb2.Query(),
    ]

    assert sorted(find(labels.AddQueriesRequest(parent="projects/p", queries=queries))) == [
        "a",
        "b",
        "p",
    ]


def test_only_the_member_of_a_oneof_that_is_set_counts() -> None:
    find = project_finder(paths=["fine_tune_base.snapshots", "train_vae.images"])
    request = training.TrainRequest(train_vae=training.TrainVae(images=["projects/a/images/x"]))

    assert find(request) == ("a",)
    assert request.WhichOneof("task") == "train_vae"


@pytest.mark.parametrize(
    ("path", "project"),
    [
        ("projects/a/images/x", "a"),
        ("s3://bucket/prefix/projects/a/images/x", "a"),
        ("s3://bucket/prefix/models/m", ""),
        ("s3://bucket/projects/a/images/x", ""),
        ("s3://other/prefix/projects/a/images/x", ""),
        ("models/m/1/model.onnx", ""),
        ("projects", ""),
        ("projects/../a", ""),
        ("projects/a/../b", ""),
        ("projects\\a", ""),
    ],
)
def test_a_path_belongs_to_the_project_whose_folder_it_is_in(path: str, project: str) -> None:
    find = project_finder(paths=["image"], roots=["s3://bucket/prefix"])

    assert find(embedding.FindSimilarRequest(image=path)) == (project,)


PARTS = st.lists(
    st.sampled_from(["projects", "mine", "theirs", "", ".", "..", "%2e%2e", "file:", "data", "a b"])
)


@given(parts=PARTS)
def test_no_path_is_taken_for_ones_own_that_the_store_takes_for_anothers(parts: list[str]) -> None:
    path = "/".join(parts)
    roots = ["file:///data"]
    find = project_finder(paths=["image", "prediction"], roots=roots)

    (found,) = find(inference.SegmentBlockRequest(image=path))

    try:
        inside = path_from_uri(path, roots)
    except DomainError:
        assert found == ""
    else:
        assert found == "" or inside.split("/")[:2] == ["projects", found]


@given(text=st.text())
def test_no_text_breaks_what_looks_for_projects(text: str) -> None:
    find = project_finder(names=["parent"], paths=["queries.image"], roots=["file:///data"])
    request = labels.AddQueriesRequest(parent=text, queries=[query_pb2.Query(image=text)])

    assert find(request)


@given(name=st.text(max_size=70))
def test_what_services_take_for_a_project_is_found_as_that_project(name: str) -> None:
    (found,) = project_finder(names=["parent"])(labels.ListLabelsRequest(parent=f"projects/{name}"))

    try:
        checked_name(name, field="parent")
    except DomainError:
        return
    assert found == name
