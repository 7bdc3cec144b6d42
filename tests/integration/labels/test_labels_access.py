"""Every method of the running label service, with every role in one's own project and another."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from contracts import all_methods, places_of, request_about
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_runtime.access import METHOD_RULES
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.server import serving_in_thread

SERVICE = "/parfocal.labels.v1.LabelsService/"
METHODS = [name.removeprefix(SERVICE) for name in all_methods() if name.startswith(SERVICE)]
TOO_LOW = "ERROR_REASON_ROLE_TOO_LOW"

Stub = Any
As = Callable[[str], Stub]


@pytest.fixture(scope="module")
def acting(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[As]:
    """Stubs of callers: with a role `everywhere`, with one `in mine`, and with none."""
    folder = tmp_path_factory.mktemp("access")
    file = folder / "tokens"
    tokens = {"nobody": "", "root": write_token(file, name="root", role=Role.ADMIN)}
    for role in Role:
        name = role.name.lower()
        tokens[f"{name} everywhere"] = write_token(file, name=f"{name} everywhere", role=role)
        tokens[f"{name} in mine"] = write_token(
            file, name=f"{name} in mine", projects={"mine": role}
        )
    both = {"mine": Role.ANNOTATOR, "theirs": Role.CURATOR}
    tokens["both"] = write_token(file, name="both", projects=both)
    config = LabelsConfig(
        port=0,
        store_uri=(folder / "store").as_uri(),
        tokens_file=str(file),
        database=f"sqlite:///{shutil.copy(sqlite_template, folder / 'labels.db')}",
        poll_seconds=0.05,
    )
    with serving_in_thread([build(config)], config) as server:
        channels = {who: sync_channel(server.address, token=token) for who, token in tokens.items()}
        stubs = {who: LabelsServiceStub(channel) for who, channel in channels.items()}
        for project in ("mine", "theirs"):
            fill(stubs["root"], project)
        yield stubs.__getitem__
        for channel in channels.values():
            channel.close()


def fill(stub: Stub, project: str) -> None:
    rules = project_pb2.Project(task_kind=project_pb2.TASK_KIND_VERIFY)
    stub.CreateProject(pb.CreateProjectRequest(project_id=project, project=rules))
    queries = [
        query_pb2.Query(round="r1", candidate_set="set", candidate=number, rank=number)
        for number in range(300)
    ]
    stub.AddQueries(pb.AddQueriesRequest(parent=f"projects/{project}", queries=queries))


def labelled(stub: Stub, project: str) -> str:
    parent = f"projects/{project}"
    (lease,) = stub.LeaseQueries(pb.LeaseQueriesRequest(parent=parent, count=1)).queries
    answer = pb.Answer(query=lease.query.name, verdict=label_pb2.VERDICT_TRUE)
    request = pb.SubmitLabelsRequest(parent=parent, answers=[answer], request_id=lease.query.name)
    (label,) = stub.SubmitLabels(request).labels
    return str(label.name)


def request_in(method: str, project: str) -> Message:
    name = f"{SERVICE}{method}"
    request: Any = request_about(all_methods()[name], METHOD_RULES[name], project)
    if "until_present" in request.DESCRIPTOR.fields_by_name:
        request.until_present = True
    return request  # type: ignore[no-any-return]


def reason(stub: Stub, method: str, request: Message) -> str:
    """Why a call was refused by the access layer; empty where the service itself answered."""
    try:
        answer = getattr(stub, method)(request, timeout=30)
        if all_methods()[f"{SERVICE}{method}"].server_streaming:
            list(answer)
    except grpc.RpcError as error:
        failure = domain_error(error)
        return failure.reason if failure.reason in (TOO_LOW, "ERROR_REASON_TOKEN_MISSING") else ""
    return ""


@pytest.mark.parametrize("method", METHODS)
def test_each_role_may_call_what_the_table_says_and_nothing_else(acting: As, method: str) -> None:
    rule = METHOD_RULES[f"{SERVICE}{method}"]

    found = {
        (role, place, project): reason(
            acting(f"{role.name.lower()} {place}"), method, request_in(method, project)
        )
        for role in Role
        for place in ("everywhere", "in mine")
        for project in ("mine", "theirs")
    }

    assert found == {
        (role, place, project): ""
        if role >= rule.role and (place == "everywhere" or project == "mine" or not places_of(rule))
        else TOO_LOW
        for role, place, project in found
    }


@pytest.mark.parametrize("method", METHODS)
def test_nobody_may_call_anything_without_a_token(acting: As, method: str) -> None:
    request = request_in(method, "mine")

    assert reason(acting("nobody"), method, request) == "ERROR_REASON_TOKEN_MISSING"


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ("viewer everywhere", ["projects/mine", "projects/theirs"]),
        ("viewer in mine", ["projects/mine"]),
        ("both", ["projects/mine", "projects/theirs"]),
    ],
)
def test_a_list_shows_the_projects_that_the_caller_may_see(
    acting: As, who: str, seen: list[str]
) -> None:
    answer = acting(who).ListProjects(pb.ListProjectsRequest())

    assert [project.name for project in answer.projects] == seen
    assert answer.next_page_token == ""


def test_a_curator_of_one_project_is_none_in_another(acting: As) -> None:
    in_mine = labelled(acting("annotator everywhere"), "mine")
    in_theirs = labelled(acting("annotator everywhere"), "theirs")

    with pytest.raises(grpc.RpcError) as caught:
        acting("both").RetractLabel(pb.RetractLabelRequest(name=in_mine))

    assert domain_error(caught.value).reason == "ERROR_REASON_LABEL_NOT_YOURS"
    assert acting("both").RetractLabel(pb.RetractLabelRequest(name=in_theirs)).retracted


def test_who_may_create_a_project_of_one_name_creates_no_other(acting: As) -> None:
    rules = project_pb2.Project(task_kind=project_pb2.TASK_KIND_VERIFY)
    request = pb.CreateProjectRequest(project_id="third", project=rules)

    assert reason(acting("admin in mine"), "CreateProject", request) == TOO_LOW
    with pytest.raises(grpc.RpcError) as caught:
        acting("root").GetProject(pb.GetProjectRequest(name="projects/third"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
