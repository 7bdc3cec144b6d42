from __future__ import annotations

import math
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import DomainError
from parfocal_runtime.server import serving_in_thread

VNC = "projects/vnc"
TRUE, FALSE, UNSURE = label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE, label_pb2.VERDICT_UNSURE

Stub = Any  # the stub of either flavour


@dataclass
class Served:
    address: str
    metrics_port: int
    folder: Path
    tokens: dict[str, str]

    @contextmanager
    def stub(self, caller: str = "") -> Iterator[Stub]:
        with sync_channel(self.address, token=self.tokens.get(caller, caller)) as channel:
            yield LabelsServiceStub(channel)


@pytest.fixture
def metrics_port(request: pytest.FixtureRequest) -> int:
    """Off, unless a test asks for metrics: the server of `/metrics` takes long to stop."""
    return int(getattr(request, "param", -1))


@pytest.fixture
def served(dsn: str, tmp_path: Path, metrics_port: int) -> Iterator[Served]:
    tokens_file = tmp_path / "tokens"
    roles = {
        "vic": Role.VIEWER,
        "ada": Role.ANNOTATOR,
        "bob": Role.ANNOTATOR,
        "cur": Role.CURATOR,
    }
    tokens = {name: write_token(tokens_file, name=name, role=role) for name, role in roles.items()}
    config = LabelsConfig(
        port=0,
        metrics_port=metrics_port,
        store_uri=(tmp_path / "store").as_uri(),
        tokens_file=str(tokens_file),
        database=dsn,
        poll_seconds=0.05,
        statistics_seconds=0.1,
    )
    with serving_in_thread([build(config)], config) as server:
        yield Served(server.address, server.metrics_port, tmp_path, tokens)


@pytest.fixture
def curator(served: Served) -> Iterator[Stub]:
    with served.stub("cur") as stub:
        yield stub


@pytest.fixture
def ada(served: Served, curator: Stub) -> Iterator[Stub]:
    """An annotator in a project with four queries."""
    create(curator)
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=map(query, range(4))))
    with served.stub("ada") as stub:
        yield stub


def create(stub: Stub, project_id: str = "vnc", **values: Any) -> project_pb2.Project:
    values.setdefault("task_kind", project_pb2.TASK_KIND_VERIFY)
    request = pb.CreateProjectRequest(project_id=project_id, project=project_pb2.Project(**values))
    project: project_pb2.Project = stub.CreateProject(request)
    return project


def query(candidate: int, **values: Any) -> query_pb2.Query:
    return query_pb2.Query(
        round="r1", candidate_set="set", candidate=candidate, rank=candidate, **values
    )


def lease(stub: Stub, count: int) -> list[str]:
    answer = stub.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=count))
    return [leased.query.name for leased in answer.queries]


def submission(
    names: list[str], verdict: Any = TRUE, *, request_id: str = "a", **values: Any
) -> pb.SubmitLabelsRequest:
    answers = [pb.Answer(query=name, verdict=verdict, **values) for name in names]
    return pb.SubmitLabelsRequest(
        parent=VNC, answers=answers, request_id=request_id, client="test/1"
    )


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, DomainError]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), domain_error(caught.value)


def test_a_project_is_created_read_and_listed(curator: Stub) -> None:
    created = create(curator, display_name="VNC", votes_needed=3)
    again = create(curator, display_name="VNC", votes_needed=3)
    for name in ("b", "a"):
        create(curator, name)

    first = curator.ListProjects(pb.ListProjectsRequest(page_size=2))
    second = curator.ListProjects(
        pb.ListProjectsRequest(page_size=2, page_token=first.next_page_token)
    )

    assert created.name == VNC
    assert created.consensus_rule == project_pb2.CONSENSUS_RULE_MAJORITY
    assert created == again == curator.GetProject(pb.GetProjectRequest(name=VNC))
    names = [project.name for project in (*first.projects, *second.projects)]
    assert names == ["projects/a", "projects/b", VNC]
    assert second.next_page_token == ""


def test_an_update_changes_what_its_mask_names(curator: Stub) -> None:
    created = create(curator, display_name="old")
    wanted = project_pb2.Project(name=VNC, display_name="new", votes_needed=3, etag=created.etag)

    updated = curator.UpdateProject(
        pb.UpdateProjectRequest(project=wanted, update_mask=FieldMask(paths=["votes_needed"]))
    )
    code, error = failure(lambda: curator.UpdateProject(pb.UpdateProjectRequest(project=wanted)))

    assert (updated.display_name, updated.votes_needed) == ("old", 3)
    assert updated.etag != created.etag
    assert (code, error.reason) == (grpc.StatusCode.ABORTED, "ERROR_REASON_ETAG_MISMATCH")


def test_a_query_travels_whole(ada: Stub, curator: Stub) -> None:
    sent = query(
        9,
        priority=7,
        role=query_pb2.QUERY_ROLE_RANDOM,
        strategy="two-stream",
        reason='{"cell": 1}',
        model=artifact_pb2.ModelVersion(name="unet", version=2),
        image="projects/vnc/images/a.ome.zarr/0",
        box=geometry_pb2.Box(
            start=geometry_pb2.Index3(z=0, y=1, x=2), stop=geometry_pb2.Index3(z=3, y=4, x=5)
        ),
        patches="projects/vnc/candidates/set/patches.zarr",
    )

    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[sent]))

    [leased] = ada.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=1)).queries
    received = query_pb2.Query()
    received.CopyFrom(leased.query)
    for output_only in ("name", "state", "create_time"):
        received.ClearField(output_only)
    assert received == sent
    assert leased.query.state == query_pb2.QUERY_STATE_OPEN


def test_the_annotator_is_who_calls(ada: Stub, served: Served) -> None:
    names = lease(ada, 2)

    labels = ada.SubmitLabels(submission(names, FALSE, seconds=2.5)).labels

    assert [(label.annotator, label.verdict) for label in labels] == [("ada", FALSE)] * 2
    assert [label.query for label in labels] == names
    with served.stub("vic") as viewer:
        listed = viewer.ListLabels(pb.ListLabelsRequest(parent=VNC)).labels
    assert listed == labels


def test_leases_are_renewed_and_released(ada: Stub) -> None:
    names = lease(ada, 2)

    renewed = ada.RenewLeases(
        pb.RenewLeasesRequest(
            parent=VNC, queries=[f"{VNC}/queries/99", *names], ttl=Duration(seconds=3600)
        )
    )
    released = ada.ReleaseQueries(pb.ReleaseQueriesRequest(parent=VNC, queries=names))

    assert renewed.queries == names
    assert released.released == 2


def test_queries_consensus_agreement_and_progress_are_read(ada: Stub, curator: Stub) -> None:
    ada.SubmitLabels(submission(lease(ada, 1)))
    withdrawn = curator.WithdrawQueries(pb.WithdrawQueriesRequest(parent=VNC, round="r1"))

    queries = ada.ListQueries(pb.ListQueriesRequest(parent=VNC, round="r1")).queries
    consensus = ada.ListConsensus(pb.ListConsensusRequest(parent=VNC, decided_only=True)).consensus
    agreement = ada.GetAgreement(pb.GetAgreementRequest(parent=VNC))
    progress = ada.GetProgress(pb.GetProgressRequest(parent=VNC, count_answers=True))

    assert withdrawn.withdrawn == 3
    assert [each.state for each in queries] == [
        query_pb2.QUERY_STATE_DECIDED,
        *[query_pb2.QUERY_STATE_WITHDRAWN] * 3,
    ]
    [only] = consensus
    assert (only.decided, only.verdict, only.votes, only.agreeing) == (True, TRUE, 1, 1)
    assert only.role == "strategy"
    assert math.isnan(agreement.fleiss_kappa)
    assert agreement.undefined_reason
    assert (progress.queries, progress.decided, progress.labels) == (1, 1, 1)
    [count] = progress.answers
    assert (count.role, count.verdict, count.class_name, count.queries) == ("strategy", TRUE, "", 1)
    assert math.isnan(progress.median_seconds)


def test_labels_are_listed_page_by_page(ada: Stub) -> None:
    ada.SubmitLabels(submission(lease(ada, 4)))

    first = ada.ListLabels(pb.ListLabelsRequest(parent=VNC, page_size=3))
    second = ada.ListLabels(
        pb.ListLabelsRequest(parent=VNC, page_size=3, page_token=first.next_page_token)
    )

    names = [label.name for label in (*first.labels, *second.labels)]
    assert names == [f"{VNC}/labels/{number}" for number in (1, 2, 3, 4)]
    assert second.next_page_token == ""


def test_a_watch_goes_on_where_it_left_off(ada: Stub) -> None:
    ada.SubmitLabels(submission(lease(ada, 3)))
    ada.RetractLabel(pb.RetractLabelRequest(name=f"{VNC}/labels/2"))

    events = ada.WatchLabels(
        pb.WatchLabelsRequest(parent=VNC, after_sequence=2, until_present=True)
    )

    seen = [(each.event.sequence, each.event.kind, each.event.label.name) for each in events]
    assert seen == [
        (3, label_pb2.LABEL_EVENT_KIND_SUBMITTED, f"{VNC}/labels/3"),
        (4, label_pb2.LABEL_EVENT_KIND_RETRACTED, f"{VNC}/labels/2"),
    ]


def test_a_watch_hears_what_comes_later(ada: Stub) -> None:
    names = lease(ada, 1)
    events = ada.WatchLabels(pb.WatchLabelsRequest(parent=VNC), timeout=20)

    ada.SubmitLabels(submission(names))

    assert next(events).event.label.query == names[0]
    events.cancel()


def test_a_snapshot_is_named_by_what_is_in_it(ada: Stub, curator: Stub, served: Served) -> None:
    names = lease(ada, 3)
    ada.SubmitLabels(submission(names[:1], TRUE, request_id="1"))
    ada.SubmitLabels(submission(names[1:2], FALSE, request_id="2"))
    ada.SubmitLabels(submission(names[2:], UNSURE, request_id="3"))

    first = curator.CreateSnapshot(pb.CreateSnapshotRequest(parent=VNC))
    again = curator.CreateSnapshot(pb.CreateSnapshotRequest(parent=VNC, rounds=["r1"]))

    table = pq.read_table(served.folder / "store" / first.path).to_pydict()
    assert first == again
    assert first.path == f"projects/vnc/snapshots/{first.sha256}.parquet"
    assert (first.rows, first.last_sequence) == (3, 3)
    assert table["candidate"] == [0, 1, 2]
    assert table["verdict"] == [True, False, None]
    assert table["votes"] == table["agreeing"] == [1, 1, 1]


def test_a_class_is_answered_by_its_name(served: Served, curator: Stub) -> None:
    create(curator, task_kind=project_pb2.TASK_KIND_CLASSIFY, classes=["axon", "glia"])
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=map(query, range(2))))
    with served.stub("ada") as ada:
        names = lease(ada, 2)
        ada.SubmitLabels(
            pb.SubmitLabelsRequest(
                parent=VNC,
                answers=[
                    pb.Answer(query=names[0], class_name="glia"),
                    pb.Answer(query=names[1], verdict=UNSURE),
                ],
                request_id="a",
            )
        )

    listed = curator.ListConsensus(pb.ListConsensusRequest(parent=VNC)).consensus
    assert [each.class_name for each in listed] == ["glia", ""]


@pytest.mark.parametrize(
    ("gold", "reason", "field"),
    [
        ({"gold_class_name": "gila"}, "ERROR_REASON_UNKNOWN_CLASS", "gold_class_name"),
        ({"gold_verdict": TRUE}, "ERROR_REASON_INVALID_FIELD", "gold_verdict"),
        (
            {"gold_verdict": UNSURE, "gold_class_name": "glia"},
            "ERROR_REASON_INVALID_FIELD",
            "gold_verdict",
        ),
    ],
)
def test_gold_is_answered_as_the_project_asks(
    curator: Stub, gold: dict[str, Any], reason: str, field: str
) -> None:
    create(curator, task_kind=project_pb2.TASK_KIND_CLASSIFY, classes=["axon", "glia"])
    role = query_pb2.QUERY_ROLE_GOLD
    right = query(0, role=role, gold_class_name="glia")
    wrong = query(1, role=role, **gold)

    code, error = failure(
        lambda: curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[right, wrong]))
    )
    added = curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[right])).added

    assert (code, error.reason) == (INVALID, reason)
    assert error.metadata["field"] == f"queries[1].{field}"
    assert added == 1


@pytest.mark.parametrize("metrics_port", [0], indirect=True)
def test_the_metrics_show_the_projects(ada: Stub, served: Served) -> None:
    ada.SubmitLabels(submission(lease(ada, 1), seconds=2))
    wanted = 'parfocal_unlabelled_queries{project="vnc"} 3.0'

    url = f"http://127.0.0.1:{served.metrics_port}/metrics"
    for _ in range(200):
        with urllib.request.urlopen(url) as answer:
            metrics = answer.read().decode()
        if wanted in metrics:
            break

    assert wanted in metrics
    assert 'parfocal_pool_queries{project="vnc"} 4.0' in metrics
    assert 'parfocal_labels_total{project="vnc"} 1.0' in metrics
    assert 'parfocal_label_seconds_count{project="vnc"} 1.0' in metrics


# What must not work: caller, call, status, reason.

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS


def test_a_viewer_cannot_label(ada: Stub, served: Served) -> None:
    names = lease(ada, 1)

    with served.stub("vic") as viewer:
        leasing = failure(lambda: lease(viewer, 1))
        submitting = failure(lambda: viewer.SubmitLabels(submission(names)))

    for code, error in (leasing, submitting):
        assert (code, error.reason) == (DENIED, "ERROR_REASON_ROLE_TOO_LOW")


@pytest.mark.parametrize("token", ["", "made-up"])
def test_nobody_labels_without_a_token_that_is_known(ada: Stub, served: Served, token: str) -> None:
    with served.stub(token) as stranger:
        code, error = failure(lambda: stranger.SubmitLabels(submission(lease(ada, 1))))

    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert error.reason == ("ERROR_REASON_TOKEN_INVALID" if token else "ERROR_REASON_TOKEN_MISSING")


def test_a_query_that_is_not_leased_takes_no_label(ada: Stub, served: Served) -> None:
    names = lease(ada, 1)

    with served.stub("bob") as bob:
        code, error = failure(lambda: bob.SubmitLabels(submission(names)))

    assert (code, error.reason) == (PRECONDITION, "ERROR_REASON_QUERY_NOT_LEASED")
    assert error.metadata["query"] == names[0]


def test_a_query_that_is_decided_takes_no_label(ada: Stub) -> None:
    names = lease(ada, 1)
    ada.SubmitLabels(submission(names, request_id="a"))

    code, error = failure(lambda: ada.SubmitLabels(submission(names, request_id="b")))

    assert (code, error.reason) == (PRECONDITION, "ERROR_REASON_QUERY_ALREADY_DECIDED")


def test_a_request_id_stands_for_one_content(ada: Stub) -> None:
    names = lease(ada, 1)
    first = ada.SubmitLabels(submission(names, TRUE))
    again = ada.SubmitLabels(submission(names, TRUE))

    code, error = failure(lambda: ada.SubmitLabels(submission(names, FALSE)))

    assert first == again
    assert (code, error.reason) == (EXISTS, "ERROR_REASON_REQUEST_ID_REUSED")
    assert error.metadata["request_id"] == "a"


def test_a_label_of_somebody_else_stays(ada: Stub, served: Served) -> None:
    ada.SubmitLabels(submission(lease(ada, 1)))
    request = pb.RetractLabelRequest(name=f"{VNC}/labels/1")

    with served.stub("bob") as bob:
        code, error = failure(lambda: bob.RetractLabel(request))
    with served.stub("cur") as cur:
        retracted = cur.RetractLabel(request)

    assert (code, error.reason) == (DENIED, "ERROR_REASON_LABEL_NOT_YOURS")
    assert retracted.retracted


def test_a_project_of_other_rules_keeps_its_name(curator: Stub) -> None:
    create(curator)

    code, error = failure(lambda: create(curator, votes_needed=3))

    assert (code, error.reason) == (EXISTS, "ERROR_REASON_PROJECT_EXISTS")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetProject", pb.GetProjectRequest(name="projects/none")),
        (
            "UpdateProject",
            pb.UpdateProjectRequest(project=project_pb2.Project(name="projects/none")),
        ),
        ("AddQueries", pb.AddQueriesRequest(parent="projects/none", queries=[query(0)])),
        ("WithdrawQueries", pb.WithdrawQueriesRequest(parent="projects/none", round="r")),
        ("ListQueries", pb.ListQueriesRequest(parent="projects/none")),
        ("LeaseQueries", pb.LeaseQueriesRequest(parent="projects/none")),
        (
            "RenewLeases",
            pb.RenewLeasesRequest(parent="projects/none", queries=["projects/none/queries/1"]),
        ),
        (
            "ReleaseQueries",
            pb.ReleaseQueriesRequest(parent="projects/none", queries=["projects/none/queries/1"]),
        ),
        (
            "SubmitLabels",
            pb.SubmitLabelsRequest(
                parent="projects/none",
                answers=[pb.Answer(query="projects/none/queries/1", verdict=TRUE)],
                request_id="a",
            ),
        ),
        ("RetractLabel", pb.RetractLabelRequest(name="projects/none/labels/1")),
        ("ListLabels", pb.ListLabelsRequest(parent="projects/none")),
        ("ListConsensus", pb.ListConsensusRequest(parent="projects/none")),
        ("CreateSnapshot", pb.CreateSnapshotRequest(parent="projects/none")),
        ("GetAgreement", pb.GetAgreementRequest(parent="projects/none")),
        ("GetProgress", pb.GetProgressRequest(parent="projects/none")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_project_is_not_found(curator: Stub, method: str, request_: object) -> None:
    code, error = failure(lambda: getattr(curator, method)(request_))

    assert (code, error.reason) == (NOT_FOUND, "ERROR_REASON_PROJECT_NOT_FOUND")


def test_a_watch_of_an_unknown_project_fails(ada: Stub) -> None:
    request = pb.WatchLabelsRequest(parent="projects/none")

    code, error = failure(lambda: next(ada.WatchLabels(request)))

    assert (code, error.reason) == (NOT_FOUND, "ERROR_REASON_PROJECT_NOT_FOUND")


@pytest.mark.parametrize(
    "token", ["x", "====", "\0", "W10=", "bnVsbA==", "WyJhIiwgImIiXQ==", "é", "a" * 5000]
)
def test_a_made_up_page_token_is_refused(ada: Stub, token: str) -> None:
    for method, request in [
        ("ListProjects", pb.ListProjectsRequest(page_token=token)),
        ("ListQueries", pb.ListQueriesRequest(parent=VNC, page_token=token)),
        ("ListLabels", pb.ListLabelsRequest(parent=VNC, page_token=token)),
        ("ListConsensus", pb.ListConsensusRequest(parent=VNC, page_token=token)),
    ]:
        code, error = failure(lambda m=method, r=request: getattr(ada, m)(r))  # type: ignore[misc]
        assert (code, error.reason) == (INVALID, "ERROR_REASON_INVALID_PAGE_TOKEN")


def test_a_page_token_of_other_arguments_is_refused(ada: Stub) -> None:
    first = ada.ListQueries(pb.ListQueriesRequest(parent=VNC, page_size=1))

    code, error = failure(
        lambda: ada.ListQueries(
            pb.ListQueriesRequest(parent=VNC, round="r1", page_token=first.next_page_token)
        )
    )

    assert (code, error.reason) == (INVALID, "ERROR_REASON_INVALID_PAGE_TOKEN")


def box(start: int, stop: int) -> geometry_pb2.Box:
    return geometry_pb2.Box(
        start=geometry_pb2.Index3(z=start, y=start, x=start),
        stop=geometry_pb2.Index3(z=stop, y=stop, x=stop),
    )


def adding(**values: Any) -> pb.AddQueriesRequest:
    sent = query(0)
    sent.MergeFrom(query_pb2.Query(**values))
    return pb.AddQueriesRequest(parent=VNC, queries=[sent])


def answering(name: str = f"{VNC}/queries/1", **values: Any) -> pb.SubmitLabelsRequest:
    values.setdefault("verdict", TRUE)
    return pb.SubmitLabelsRequest(
        parent=VNC, answers=[pb.Answer(query=name, **values)], request_id="a"
    )


def creating(project_id: str = "new", **values: Any) -> pb.CreateProjectRequest:
    values.setdefault("task_kind", project_pb2.TASK_KIND_VERIFY)
    return pb.CreateProjectRequest(project_id=project_id, project=project_pb2.Project(**values))


FIELD, MISSING = "ERROR_REASON_INVALID_FIELD", "ERROR_REASON_MISSING_FIELD"
NAME, BOX = "ERROR_REASON_INVALID_NAME", "ERROR_REASON_INVALID_BOX"

BAD_REQUESTS: list[tuple[str, Any, str, str]] = [
    ("CreateProject", creating(""), MISSING, "project_id"),
    ("CreateProject", creating("../etc"), NAME, "project_id"),
    ("CreateProject", creating("Ünï"), NAME, "project_id"),
    ("CreateProject", creating(task_kind=0), MISSING, "project.task_kind"),
    ("CreateProject", creating(task_kind=9), FIELD, "project.task_kind"),
    ("CreateProject", creating(task_kind=2), FIELD, "project.classes"),
    ("CreateProject", creating(classes=["a"]), FIELD, "project.classes"),
    ("CreateProject", creating(task_kind=2, classes=["a", "a"]), FIELD, "project.classes"),
    ("CreateProject", creating(task_kind=2, classes=["a", ""]), MISSING, "project.classes[1]"),
    ("CreateProject", creating(task_kind=2, classes=["a\0"]), FIELD, "project.classes[0]"),
    ("CreateProject", creating(votes_needed=-1), FIELD, "project.votes_needed"),
    ("CreateProject", creating(votes_needed=100), FIELD, "project.votes_needed"),
    ("CreateProject", creating(consensus_rule=7), FIELD, "project.consensus_rule"),
    ("CreateProject", creating(display_name="x" * 201), FIELD, "project.display_name"),
    ("CreateProject", creating(display_name="\0"), FIELD, "project.display_name"),
    ("GetProject", pb.GetProjectRequest(), MISSING, "name"),
    ("GetProject", pb.GetProjectRequest(name="vnc"), FIELD, "name"),
    ("GetProject", pb.GetProjectRequest(name="projects/.."), NAME, "name"),
    ("GetProject", pb.GetProjectRequest(name="projects/\0"), NAME, "name"),
    (
        "UpdateProject",
        pb.UpdateProjectRequest(
            project=project_pb2.Project(name=VNC), update_mask=FieldMask(paths=["task_kind"])
        ),
        FIELD,
        "update_mask",
    ),
    (
        "UpdateProject",
        pb.UpdateProjectRequest(project=project_pb2.Project(name=VNC, classes=["a"])),
        FIELD,
        "project.classes",
    ),
    ("AddQueries", pb.AddQueriesRequest(parent=VNC), MISSING, "queries"),
    (
        "AddQueries",
        pb.AddQueriesRequest(parent=VNC, queries=[query(0)] * 10_001),
        FIELD,
        "queries",
    ),
    (
        "AddQueries",
        pb.AddQueriesRequest(parent=VNC, queries=[query_pb2.Query()]),
        MISSING,
        "queries[0].round",
    ),
    ("AddQueries", adding(round="a/b"), NAME, "queries[0].round"),
    ("AddQueries", adding(candidate=-1), FIELD, "queries[0].candidate"),
    ("AddQueries", adding(rank=-1), FIELD, "queries[0].rank"),
    ("AddQueries", adding(role=5), FIELD, "queries[0].role"),
    ("AddQueries", adding(strategy="a b"), NAME, "queries[0].strategy"),
    ("AddQueries", adding(reason="[1]"), FIELD, "queries[0].reason"),
    ("AddQueries", adding(reason="{"), FIELD, "queries[0].reason"),
    ("AddQueries", adding(reason="[" * 9000), FIELD, "queries[0].reason"),
    ("AddQueries", adding(model={"name": "m"}), FIELD, "queries[0].model.version"),
    ("AddQueries", adding(model={"version": 1}), MISSING, "queries[0].model.name"),
    ("AddQueries", adding(image="\0"), FIELD, "queries[0].image"),
    ("AddQueries", adding(patches="x" * 2000), FIELD, "queries[0].patches"),
    ("AddQueries", adding(box=box(0, 0)), BOX, "box"),
    ("AddQueries", adding(box=box(5, 2)), BOX, "box"),
    ("AddQueries", adding(box=box(-1, 2)), BOX, "queries[0].box"),
    (
        "AddQueries",
        pb.AddQueriesRequest(parent=VNC, queries=[query(0)], request_id="x" * 129),
        FIELD,
        "request_id",
    ),
    ("WithdrawQueries", pb.WithdrawQueriesRequest(parent=VNC), MISSING, "round"),
    ("ListQueries", pb.ListQueriesRequest(parent=VNC, page_size=-1), FIELD, "page_size"),
    ("ListQueries", pb.ListQueriesRequest(parent=VNC, round="\0"), NAME, "round"),
    ("LeaseQueries", pb.LeaseQueriesRequest(parent=VNC, count=-1), FIELD, "count"),
    ("LeaseQueries", pb.LeaseQueriesRequest(parent=VNC, count=1001), FIELD, "count"),
    (
        "LeaseQueries",
        pb.LeaseQueriesRequest(parent=VNC, ttl=Duration(nanos=5)),
        FIELD,
        "ttl",
    ),
    (
        "LeaseQueries",
        pb.LeaseQueriesRequest(parent=VNC, ttl=Duration(seconds=2**62)),
        FIELD,
        "ttl",
    ),
    ("RenewLeases", pb.RenewLeasesRequest(parent=VNC), MISSING, "queries"),
    (
        "RenewLeases",
        pb.RenewLeasesRequest(parent=VNC, queries=["projects/other/queries/1"]),
        FIELD,
        "queries[0]",
    ),
    (
        "ReleaseQueries",
        pb.ReleaseQueriesRequest(parent=VNC, queries=[f"{VNC}/queries/1"] * 1001),
        FIELD,
        "queries",
    ),
    (
        "SubmitLabels",
        pb.SubmitLabelsRequest(parent=VNC, request_id="a"),
        MISSING,
        "answers",
    ),
    (
        "SubmitLabels",
        pb.SubmitLabelsRequest(parent=VNC, answers=[pb.Answer(query=f"{VNC}/queries/1")]),
        MISSING,
        "request_id",
    ),
    ("SubmitLabels", answering(""), MISSING, "answers[0].query"),
    ("SubmitLabels", answering(f"{VNC}/queries/x"), FIELD, "answers[0].query"),
    ("SubmitLabels", answering(f"{VNC}/queries/{10**30}"), FIELD, "answers[0].query"),
    ("SubmitLabels", answering("projects/other/queries/1"), FIELD, "answers[0].query"),
    ("SubmitLabels", answering(verdict=0), FIELD, "answers[0]"),
    ("SubmitLabels", answering(verdict=8), FIELD, "answers[0].verdict"),
    ("SubmitLabels", answering(class_name="a"), FIELD, "answers[0]"),
    ("SubmitLabels", answering(class_name="\0"), FIELD, "answers[0].class_name"),
    ("SubmitLabels", answering(seconds=-1), FIELD, "answers[0].seconds"),
    ("SubmitLabels", answering(seconds=math.nan), FIELD, "answers[0].seconds"),
    ("SubmitLabels", answering(seconds=math.inf), FIELD, "answers[0].seconds"),
    (
        "SubmitLabels",
        pb.SubmitLabelsRequest(
            parent=VNC,
            answers=[pb.Answer(query=f"{VNC}/queries/1", verdict=TRUE)] * 2,
            request_id="a",
        ),
        FIELD,
        "answers[1].query",
    ),
    ("RetractLabel", pb.RetractLabelRequest(name=f"{VNC}/queries/1"), FIELD, "name"),
    ("ListLabels", pb.ListLabelsRequest(parent=VNC, page_size=-5), FIELD, "page_size"),
    (
        "CreateSnapshot",
        pb.CreateSnapshotRequest(parent=VNC, rounds=["r1", ""]),
        MISSING,
        "rounds[1]",
    ),
]


def test_a_bad_field_is_named(ada: Stub, curator: Stub) -> None:
    # One server for all rows: what is refused must leave no trace for the next.
    before = curator.GetProgress(pb.GetProgressRequest(parent=VNC), timeout=20)

    refused = {}
    for number, (method, request, *_) in enumerate(BAD_REQUESTS):
        code, error = failure(lambda m=method, r=request: getattr(curator, m)(r))  # type: ignore[misc]
        refused[number] = (method, code, error.reason, error.metadata.get("field"))

    assert refused == {
        number: (method, INVALID, reason, field)
        for number, (method, _, reason, field) in enumerate(BAD_REQUESTS)
    }
    after = curator.GetProgress(pb.GetProgressRequest(parent=VNC))
    assert (after.queries, after.leased, after.labels) == (before.queries, 0, 0)


def test_a_watch_begins_at_zero_or_later(ada: Stub) -> None:
    request = pb.WatchLabelsRequest(parent=VNC, after_sequence=-1)

    code, error = failure(lambda: next(ada.WatchLabels(request)))

    assert (code, error.reason) == (INVALID, FIELD)
