from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_requests import CANDIDATES, PREDICTION, block, box, failure, source, wish
from parfocal.common.v1 import geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.candidates import SCHEMA
from parfocal_inference.convert import proposal_from_pb
from parfocal_inference.oip.v2 import inference_pb2 as oip_pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_inference.propose import propose_candidates
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.errors import Cancelled
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table

NAN = float("nan")


class Served(Protocol):
    def __call__(
        self, store: ObjectStore, **settings: Any
    ) -> AbstractContextManager[grpc.Channel]: ...


def test_candidates_come_from_the_map(store: ObjectStore, inference: InferenceServiceStub) -> None:
    inference.SegmentBlock(block())

    answer = inference.ProposeCandidates(wish())

    table = read_table(store, f"{CANDIDATES}/table.parquet")
    assert (answer.candidates, answer.already_done) == (CANDIDATES, False)
    assert answer.count == table.num_rows > 5
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata == {b"model": b"grey", b"model_version": b"1"}
    assert open_array(store, f"{CANDIDATES}/patches.zarr/image").shape == (answer.count, 16, 16)
    assert inference.ProposeCandidates(wish()).already_done


def test_the_same_request_twice_at_once_makes_one_set(inference: InferenceServiceStub) -> None:
    inference.SegmentBlock(block())

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(inference.ProposeCandidates, [wish(), wish()]))

    assert sorted(answer.already_done for answer in answers) == [False, True]


def test_no_candidates_are_a_set_too(inference: InferenceServiceStub) -> None:
    inference.SegmentBlock(block())

    answer = inference.ProposeCandidates(wish(minimum_voxels=10**6))

    assert answer.count == 0


def test_defaults_are_those_that_the_contract_names(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    request = block()
    request.ClearField("overlap")
    inference.SegmentBlock(request)

    inference.ProposeCandidates(
        pb.ProposeCandidatesRequest(candidates=CANDIDATES, sources=[source()])
    )

    claim = store.read(f"{CANDIDATES}/set.json").decode()
    for text in (
        '"threshold": 0.5',
        '"connectivity": "planar-8"',
        '"minimum_voxels": 30',
        '"slice_rule": "largest-area"',
        '"patch_side": 64',
    ):
        assert text in claim
    assert open_array(store, f"{CANDIDATES}/patches.zarr/image").shape[1:] == (64, 64)


@pytest.mark.parametrize(
    ("changes", "code", "reason", "field"),
    [
        ({"threshold": 1.0}, "INVALID_ARGUMENT", "INVALID_FIELD", "threshold"),
        ({"threshold": -0.1}, "INVALID_ARGUMENT", "INVALID_FIELD", "threshold"),
        ({"threshold": NAN}, "INVALID_ARGUMENT", "INVALID_FIELD", "threshold"),
        ({"minimum_voxels": -1}, "INVALID_ARGUMENT", "INVALID_FIELD", "minimum_voxels"),
        ({"patch_side": 15}, "INVALID_ARGUMENT", "INVALID_FIELD", "patch_side"),
        ({"patch_side": 513}, "INVALID_ARGUMENT", "INVALID_FIELD", "patch_side"),
        ({"patch_side": -64}, "INVALID_ARGUMENT", "INVALID_FIELD", "patch_side"),
        ({"connectivity": 99}, "INVALID_ARGUMENT", "INVALID_FIELD", "connectivity"),
        ({"slice_rule": 99}, "INVALID_ARGUMENT", "INVALID_FIELD", "slice_rule"),
        (
            {"block_shape": geometry_pb2.Index3(z=0, y=8, x=8)},
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "block_shape",
        ),
        (
            {"block_shape": geometry_pb2.Index3(z=2**40, y=2**40, x=8)},
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "block_shape",
        ),
        ({"sources": []}, "INVALID_ARGUMENT", "MISSING_FIELD", "sources"),
        ({"candidates": ""}, "INVALID_ARGUMENT", "MISSING_FIELD", "candidates"),
        ({"candidates": "models/grey"}, "INVALID_ARGUMENT", "INVALID_URI", "candidates"),
        (
            {"candidates": "projects/Demo/candidates/x"},
            "INVALID_ARGUMENT",
            "INVALID_NAME",
            "candidates",
        ),
        ({"candidates": "../x"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "candidates"),
        (
            {"sources": [source(), source(image="../x")]},
            "PERMISSION_DENIED",
            "URI_OUTSIDE_ROOTS",
            "sources[1].image",
        ),
        (
            {"sources": [source(prediction="projects/none")]},
            "NOT_FOUND",
            "ARTIFACT_NOT_FOUND",
            "sources[0].prediction",
        ),
        (
            {"sources": [source(prediction="projects/demo/images/small")]},
            "INVALID_ARGUMENT",
            "SHAPE_MISMATCH",
            "sources[0].prediction",
        ),
        (
            {"sources": [source(exclude=[box(0, 0, 0, 1, 1, 1), box(0, 0, 0, 1, 0, 1)])]},
            "INVALID_ARGUMENT",
            "INVALID_BOX",
            "sources[0].exclude[1]",
        ),
        (
            {"sources": [source(region=box(0, 0, 0, 7, 40, 200))]},
            "INVALID_ARGUMENT",
            "BOX_OUTSIDE_IMAGE",
            "sources[0].region",
        ),
    ],
)
def test_a_set_that_can_never_be_made_is_refused_with_its_field(
    store: ObjectStore,
    inference: InferenceServiceStub,
    changes: dict[str, Any],
    code: str,
    reason: str,
    field: str,
) -> None:
    inference.SegmentBlock(block())
    small = (6, 40, 199)
    create_array(store, "projects/demo/images/small", shape=small, dtype=np.uint8, chunks=small)

    found = failure(lambda: inference.ProposeCandidates(wish(**changes)))

    assert found[:2] == (grpc.StatusCode[code], f"ERROR_REASON_{reason}")
    assert found[2]["field"] == field
    assert not list(store.list("projects/demo/candidates"))


def test_a_set_of_other_parameters_is_refused(inference: InferenceServiceStub) -> None:
    inference.SegmentBlock(block())
    inference.ProposeCandidates(wish())

    code, reason, _ = failure(lambda: inference.ProposeCandidates(wish(threshold=0.7)))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")


def test_more_candidates_than_the_server_allows_are_refused(
    store: ObjectStore, served: Served
) -> None:
    with served(store, max_candidates=3) as channel:
        stub = InferenceServiceStub(channel)
        stub.SegmentBlock(block())
        code, reason, metadata = failure(lambda: stub.ProposeCandidates(wish()))

    assert (code, reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "ERROR_REASON_TOO_MANY_CANDIDATES",
    )
    assert metadata["limit"] == "3"


def test_one_server_answers_the_open_inference_protocol_with_the_same_models(
    store: ObjectStore, served: Served
) -> None:
    with served(store) as channel:
        ready = oip_grpc.GRPCInferenceServiceStub(channel).ModelReady(
            oip_pb.ModelReadyRequest(name="grey")
        )
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = stub.Check(
            health_pb2.HealthCheckRequest(service="parfocal.inference.v1.InferenceService")
        )

    assert ready.ready
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_blocks_and_candidates_are_the_same_in_every_store(
    object_store: ObjectStore,
    fill: Callable[[ObjectStore], None],
    served: Served,
    picture: npt.NDArray[np.uint8],
) -> None:
    fill(object_store)
    pieces = [block(box=box(0, 0, x, 6, 40, x + 100)) for x in (0, 100)]

    with served(object_store) as channel:
        stub = InferenceServiceStub(channel)
        for piece in pieces:
            stub.SegmentBlock(piece)
        answer = stub.ProposeCandidates(wish())
        repeated = [
            stub.SegmentBlock(pieces[0]).already_done,
            stub.ProposeCandidates(wish()).already_done,
        ]

    found = open_array(object_store, PREDICTION).read().result()
    labels = open_array(object_store, f"{CANDIDATES}/objects-0.zarr").read().result()
    assert all(repeated)
    assert np.abs(found.astype(int) - picture).max() <= 1
    assert labels.max() == answer.count
    assert answer.count == read_table(object_store, f"{CANDIDATES}/table.parquet").num_rows


class Killed:
    """Stops work after so many pieces."""

    def __init__(self, after: int) -> None:
        self.left = after

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("ERROR_REASON_CANCELLED", "gone")


def test_what_killed_work_left_is_written_over_in_every_store(
    object_store: ObjectStore, fill: Callable[[ObjectStore], None], served: Served
) -> None:
    fill(object_store)
    with served(object_store) as channel:
        stub = InferenceServiceStub(channel)
        stub.SegmentBlock(block())
        object_store.delete_prefix("projects/demo/predictions/vnc/grey-1.ome.zarr.blocks")
        proposal = proposal_from_pb(wish(), object_store.resolve, most_voxels=10**6)
        with pytest.raises(Cancelled):
            propose_candidates(object_store, proposal, cancel=Killed(after=170))

        block_again = stub.SegmentBlock(block())
        set_again = stub.ProposeCandidates(wish())

    assert not block_again.already_done
    assert not set_again.already_done
    assert set_again.count == open_array(object_store, f"{CANDIDATES}/patches.zarr/mask").shape[0]
