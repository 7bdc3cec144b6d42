from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from candidate_sets import write_candidate_set, write_image
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_runtime.arrays import open_array
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import DomainError
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store

VNC = "projects/vnc"
TRUE, FALSE, UNSURE = label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE, label_pb2.VERDICT_UNSURE
FORMATS = [pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_COCO, pb.EXPORT_FORMAT_OME_ZARR,
           pb.EXPORT_FORMAT_NEUROGLANCER]  # fmt: skip

Stub = Any  # of the service


@dataclass
class Served:
    stub: Stub
    store: ObjectStore
    address: str
    tokens: dict[str, str]

    @contextmanager
    def as_caller(self, name: str) -> Iterator[Stub]:
        with sync_channel(self.address, token=self.tokens[name]) as channel:
            yield LabelsServiceStub(channel)


@contextmanager
def serving(dsn: str, store: ObjectStore, folder: Path) -> Iterator[Served]:
    tokens_file = folder / "tokens"
    roles = {"ada": Role.ANNOTATOR, "cur": Role.CURATOR}
    tokens = {name: write_token(tokens_file, name=name, role=role) for name, role in roles.items()}
    config = LabelsConfig(
        port=0,
        metrics_port=-1,
        store_uri=(folder / "unused").as_uri(),
        tokens_file=str(tokens_file),
        database=dsn,
        poll_seconds=0.05,
    )
    with (
        serving_in_thread([build(config, store)], config) as server,
        sync_channel(server.address, token=tokens["cur"]) as channel,
    ):
        yield Served(LabelsServiceStub(channel), store, server.address, tokens)


@pytest.fixture
def served(dsn: str, tmp_path: Path) -> Iterator[Served]:
    with serving(dsn, open_store((tmp_path / "store").as_uri()), tmp_path) as one:
        yield one


@pytest.fixture
def curator(served: Served) -> Stub:
    return served.stub


def create(stub: Stub, **values: Any) -> None:
    values.setdefault("task_kind", project_pb2.TASK_KIND_VERIFY)
    request = pb.CreateProjectRequest(project_id="vnc", project=project_pb2.Project(**values))
    stub.CreateProject(request)


def query(candidate: int, **values: Any) -> query_pb2.Query:
    values.setdefault("round", "r1")
    return query_pb2.Query(candidate_set="set", candidate=candidate, rank=candidate, **values)


def imported(
    candidate: int, verdict: Any = TRUE, *, source: str = "coco:a.json", **values: Any
) -> pb.ImportedLabel:
    answer = pb.Answer(verdict=verdict)
    return pb.ImportedLabel(query=query(candidate, **values), answer=answer, source=source)


def send(stub: Stub, *labels: pb.ImportedLabel, request_id: str = "a") -> pb.ImportLabelsResponse:
    request = pb.ImportLabelsRequest(
        parent=VNC, labels=labels, request_id=request_id, client="test/1"
    )
    response: pb.ImportLabelsResponse = stub.ImportLabels(request)
    return response


def labels_of(stub: Stub) -> list[label_pb2.Label]:
    return list(stub.ListLabels(pb.ListLabelsRequest(parent=VNC)).labels)


def queries_of(stub: Stub) -> list[query_pb2.Query]:
    return list(stub.ListQueries(pb.ListQueriesRequest(parent=VNC)).queries)


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, DomainError]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), domain_error(caught.value)


def test_an_imported_label_is_a_vote_of_its_source_on_a_query_of_its_own(curator: Stub) -> None:
    create(curator)
    item = imported(3, FALSE, strategy="elsewhere")
    item.answer.seconds, item.answer.tags[:] = 2.5, ["edge"]

    answer = send(curator, item)

    [label] = labels_of(curator)
    [asked] = queries_of(curator)
    assert (answer.added, answer.present) == (1, 0)
    assert (label.annotator, label.verdict) == ("import/coco:a.json", FALSE)
    assert label.purpose == label_pb2.LABEL_PURPOSE_IMPORT
    assert (label.seconds, label.client, list(label.tags)) == (2.5, "test/1", ["edge"])
    assert (asked.candidate, asked.strategy) == (3, "elsewhere")
    assert (asked.state, asked.votes) == (query_pb2.QUERY_STATE_DECIDED, 1)


def test_a_query_that_is_there_is_voted_on_as_it_stands(curator: Stub) -> None:
    create(curator, votes_needed=2)
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[query(0, strategy="entropy")]))

    send(curator, imported(0, strategy="elsewhere"))

    [asked] = queries_of(curator)
    assert (asked.strategy, asked.votes) == ("entropy", 1)
    assert asked.state == query_pb2.QUERY_STATE_OPEN


def test_a_vote_from_elsewhere_counts_beside_those_of_people(served: Served, curator: Stub) -> None:
    create(curator, votes_needed=2)
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[query(0), query(1)]))
    send(curator, imported(0))

    with served.as_caller("ada") as ada:
        leased = ada.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=2)).queries
        ada.SubmitLabels(
            pb.SubmitLabelsRequest(
                parent=VNC,
                answers=[pb.Answer(query=leased[0].query.name, verdict=TRUE)],
                request_id="b",
            )
        )

    decided = curator.ListConsensus(pb.ListConsensusRequest(parent=VNC, decided_only=True))
    [consensus] = decided.consensus
    assert (consensus.candidate, consensus.votes, consensus.verdict) == (0, 2, TRUE)


def test_a_lease_of_a_query_that_an_import_decides_is_over(served: Served, curator: Stub) -> None:
    create(curator)
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[query(0)]))
    with served.as_caller("ada") as ada:
        [leased] = ada.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=1)).queries
        send(curator, imported(0))

        answers = [pb.Answer(query=leased.query.name, verdict=TRUE)]
        code, error = failure(
            lambda: ada.SubmitLabels(
                pb.SubmitLabelsRequest(parent=VNC, answers=answers, request_id="b")
            )
        )

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "ERROR_REASON_QUERY_ALREADY_DECIDED"


def test_the_same_call_again_is_answered_as_the_first_time(curator: Stub) -> None:
    create(curator)

    first = send(curator, imported(0), imported(1))
    again = send(curator, imported(0), imported(1))

    assert first == again
    assert again.added == 2
    assert len(labels_of(curator)) == 2


def test_a_request_id_with_other_labels_is_refused(curator: Stub) -> None:
    create(curator)
    send(curator, imported(0))

    code, error = failure(lambda: send(curator, imported(0, FALSE)))

    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert error.reason == "ERROR_REASON_REQUEST_ID_REUSED"


def test_what_a_source_gave_before_is_present_and_another_source_adds_to_it(
    curator: Stub,
) -> None:
    create(curator)
    send(curator, imported(0))

    again = send(curator, imported(0, FALSE), imported(1), request_id="b")
    other = send(curator, imported(0, FALSE, source="csv:b"), request_id="c")

    assert (again.added, again.present) == (1, 1)
    assert (other.added, other.present) == (1, 0)
    assert [(label.candidate, label.verdict) for label in labels_of(curator)] == [
        (0, TRUE),
        (1, TRUE),
        (0, FALSE),
    ]


def test_a_label_that_was_taken_back_can_be_imported_again(curator: Stub) -> None:
    create(curator)
    send(curator, imported(0))
    curator.RetractLabel(pb.RetractLabelRequest(name=f"{VNC}/labels/1"))

    again = send(curator, imported(0, FALSE), request_id="b")

    [asked] = queries_of(curator)
    assert again.added == 1
    assert (asked.votes, asked.state) == (1, query_pb2.QUERY_STATE_DECIDED)


def test_one_wrong_label_leaves_out_all(curator: Stub) -> None:
    create(curator, task_kind=project_pb2.TASK_KIND_CLASSIFY, classes=["glia"])
    good, bad = imported(0, 0), imported(1, 0)
    good.answer.class_name, bad.answer.class_name = "glia", "axon"

    code, error = failure(lambda: send(curator, good, bad))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "ERROR_REASON_UNKNOWN_CLASS"
    assert error.metadata["field"] == "labels[1].answer.class_name"
    assert labels_of(curator) == []
    assert queries_of(curator) == []


def test_gold_and_withdrawn_queries_take_no_imports(curator: Stub) -> None:
    create(curator)
    gold = query(0, role=query_pb2.QUERY_ROLE_GOLD, gold_verdict=TRUE)
    curator.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=[gold, query(1, round="r2")]))
    curator.WithdrawQueries(pb.WithdrawQueriesRequest(parent=VNC, round="r2"))

    on_gold = failure(lambda: send(curator, imported(0)))
    on_withdrawn = failure(lambda: send(curator, imported(1, round="r2"), request_id="b"))

    assert on_gold[0] is on_withdrawn[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert on_gold[1].reason == "ERROR_REASON_QUERY_ROLE_UNFIT"
    assert on_withdrawn[1].reason == "ERROR_REASON_QUERY_WITHDRAWN"
    assert labels_of(curator) == []


def test_imports_are_events_without_gaps(curator: Stub) -> None:
    create(curator)
    send(curator, *(imported(number) for number in range(1000)))

    stream = curator.WatchLabels(pb.WatchLabelsRequest(parent=VNC, until_present=True))

    assert [answer.event.sequence for answer in stream] == list(range(1, 1001))


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([], "labels"),
        ([imported(number) for number in range(1001)], "labels"),
        ([pb.ImportedLabel(source="x", answer=pb.Answer(verdict=TRUE))], "labels[0].query"),
        ([imported(0, source="")], "labels[0].source"),
        ([imported(0, source="x" * 201)], "labels[0].source"),
        ([imported(0), imported(0)], "labels[1]"),
        ([imported(-1)], "labels[0].query.candidate"),
        ([imported(0, 9)], "labels[0].answer.verdict"),
        ([imported(0, 0)], "labels[0].answer"),
        (
            [imported(0, role=query_pb2.QUERY_ROLE_GOLD, gold_verdict=TRUE)],
            "labels[0].query.role",
        ),
    ],
)
def test_a_wrong_import_names_the_field(
    curator: Stub, labels: list[pb.ImportedLabel], field: str
) -> None:
    create(curator)

    code, error = failure(lambda: send(curator, *labels))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata["field"] == field


def test_annotators_neither_import_nor_export(served: Served) -> None:
    create(served.stub)

    with served.as_caller("ada") as ada:
        codes = {
            failure(lambda: send(ada, imported(0)))[0],
            failure(lambda: export(ada, "0" * 64, FORMATS[0]))[0],
        }

    assert codes == {grpc.StatusCode.PERMISSION_DENIED}


def export(
    stub: Stub, sha256: str, format_: Any, candidate_set: str = "set"
) -> pb.ExportSnapshotResponse:
    request = pb.ExportSnapshotRequest(
        name=f"{VNC}/snapshots/{sha256}", format=format_, candidate_set=candidate_set
    )
    response: pb.ExportSnapshotResponse = stub.ExportSnapshot(request)
    return response


def labelled_snapshot(served: Served) -> str:
    """Labels on a candidate set, frozen; candidate 1 is wrong, the others are right."""
    objects = np.zeros((2, 20, 24), np.uint32)
    for number, place in enumerate([(0, 1, 1), (1, 2, 2), (1, 10, 12)], 1):
        z, y, x = place
        objects[z, y : y + 4, x : x + 5] = number
    image = write_image(served.store, "stack", objects.shape, levels=2)
    write_candidate_set(served.store, {image: objects})
    create(served.stub)
    send(served.stub, imported(0), imported(1, FALSE), imported(2))
    snapshot = served.stub.CreateSnapshot(pb.CreateSnapshotRequest(parent=VNC))
    sha256: str = snapshot.sha256
    return sha256


@pytest.fixture
def lab(object_store: ObjectStore, tmp_path: Path) -> Iterator[Served]:
    """On both object stores, with one database."""
    with serving(f"sqlite:///{tmp_path}/labels.db", object_store, tmp_path) as one:
        yield one


def test_a_snapshot_is_exported_in_every_format(lab: Served) -> None:
    sha256 = labelled_snapshot(lab)

    found = {format_: export(lab.stub, sha256, format_) for format_ in FORMATS}
    again = {format_: export(lab.stub, sha256, format_) for format_ in FORMATS}

    assert again == found
    assert [each.rows for each in found.values()] == [3, 2, 2, 3]
    csv_path, coco_path, labels_path, layers_path = (each.path for each in found.values())
    rows = csv.DictReader(io.StringIO(lab.store.read(csv_path).decode(), newline=""))
    assert [row["verdict"] for row in rows] == ["true", "false", "true"]
    coco = json.loads(lab.store.read(coco_path))
    assert [each["bbox"] for each in coco["annotations"]] == [[1, 1, 5, 4], [12, 10, 5, 4]]
    labels = open_array(lab.store, f"{labels_path}/stack/1").read().result()
    assert np.unique(labels).tolist() == [0, 1, 3]
    [layer] = json.loads(lab.store.read(f"{layers_path}/layers.json"))["layers"]
    assert layer["annotations"] == 3
    assert lab.store.exists(f"{layer['path']}/by_id/0.shard")


def test_the_same_export_twice_at_once_is_written_once(lab: Served) -> None:
    sha256 = labelled_snapshot(lab)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda format_: export(lab.stub, sha256, format_), FORMATS * 2))

    assert found[:4] == found[4:]
    labels = open_array(lab.store, f"{found[2].path}/stack/0").read().result()
    assert np.unique(labels).tolist() == [0, 1, 3]


def test_a_snapshot_that_is_not_there_is_not_found(curator: Stub) -> None:
    create(curator)

    code, error = failure(lambda: export(curator, "0" * 64, FORMATS[0]))

    assert code is grpc.StatusCode.NOT_FOUND
    assert error.reason == "ERROR_REASON_SNAPSHOT_NOT_FOUND"
    assert error.metadata["snapshot"] == f"{VNC}/snapshots/{'0' * 64}"


def test_an_export_without_the_candidate_set_says_what_is_missing(curator: Stub) -> None:
    create(curator)
    send(curator, imported(0))
    snapshot = curator.CreateSnapshot(pb.CreateSnapshotRequest(parent=VNC))

    code, error = failure(lambda: export(curator, snapshot.sha256, pb.EXPORT_FORMAT_COCO))

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "ERROR_REASON_EXPORT_IMPOSSIBLE"
    assert error.metadata == {
        "format": "coco",
        "missing": "projects/vnc/candidates/set/table.parquet",
    }


def test_an_export_of_a_candidate_set_that_no_query_is_of_is_refused(lab: Served) -> None:
    sha256 = labelled_snapshot(lab)

    code, error = failure(lambda: export(lab.stub, sha256, pb.EXPORT_FORMAT_CSV, "sett"))

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "ERROR_REASON_EXPORT_IMPOSSIBLE"
    assert error.metadata["missing"] == "a decided query of the candidate set sett"
    assert list(lab.store.list(f"{VNC}/exports")) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "projects/vnc/snapshots/short"}, "name"),
        ({"name": f"projects/vnc/snapshots/{'A' * 64}"}, "name"),
        ({"name": f"projects/../snapshots/{'a' * 64}"}, "name"),
        ({"format": 0}, "format"),
        ({"format": 9}, "format"),
        ({"candidate_set": "../x"}, "candidate_set"),
        ({"format": pb.EXPORT_FORMAT_OME_ZARR, "candidate_set": ""}, "candidate_set"),
    ],
)
def test_a_wrong_export_names_the_field(curator: Stub, changes: dict[str, Any], field: str) -> None:
    values = {"name": f"{VNC}/snapshots/{'a' * 64}", "format": 1, "candidate_set": "set", **changes}

    code, error = failure(lambda: curator.ExportSnapshot(pb.ExportSnapshotRequest(**values)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata["field"] == field
