from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from inference_requests import IMAGE, PREDICTION, block, box, failure
from onnx_graphs import graph
from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.base_model import BaseModel
from parfocal_runtime.arrays import array_attributes, create_array, create_group, open_array
from parfocal_runtime.models.cards import AxisCard, TensorCard, base_card
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import ObjectStore

NAN = float("nan")
SHAPE = (6, 40, 200)
HALF = "projects/demo/images/half"


class Served(Protocol):
    def __call__(
        self, store: ObjectStore, **settings: Any
    ) -> AbstractContextManager[grpc.Channel]: ...


def map_of(store: ObjectStore, path: str = PREDICTION) -> npt.NDArray[np.int64]:
    return np.asarray(open_array(store, path).read().result(), np.int64)


def test_a_map_that_is_made_block_by_block_is_the_map_that_is_made_at_once(
    store: ObjectStore, inference: InferenceServiceStub, picture: npt.NDArray[np.uint8]
) -> None:
    pieces = [box(0, 0, 0, 6, 40, 128), box(0, 0, 128, 6, 40, 200)]
    other = PREDICTION.replace("vnc/", "again/")

    answer = inference.SegmentBlock(block())
    for piece in pieces:
        inference.SegmentBlock(block(prediction=other, box=piece))

    assert np.array_equal(map_of(store), map_of(store, other))
    assert np.abs(map_of(store) - picture).max() <= 1
    assert answer.model == artifact_pb2.ModelVersion(name="grey", version=1)
    assert answer.windows == 2 * 9 * 49
    assert 0 < answer.model_seconds < answer.seconds
    assert 0 < answer.store_seconds < answer.seconds
    assert 0 < answer.memory_bytes < 2_000_000


def test_a_map_is_the_same_whether_windows_run_side_by_side_or_not(
    store: ObjectStore, served: Served
) -> None:
    for threads in (1, 3):
        with served(store, session_threads=threads) as channel:
            path = f"projects/demo/predictions/{threads}-threads"
            answer = InferenceServiceStub(channel).SegmentBlock(block(prediction=path))
        assert 0 < answer.model_seconds < answer.seconds

    one, three = (map_of(store, f"projects/demo/predictions/{n}-threads") for n in (1, 3))
    assert np.array_equal(one, three)


def test_windows_share_what_the_halo_on_the_card_asks_for(inference: InferenceServiceStub) -> None:
    request = block()
    request.ClearField("overlap")

    answer = inference.SegmentBlock(request)

    # Windows 4 x 8 x 8 with a halo of 2 in the plane: every 3 x 4 x 4 voxels, not 3 x 6 x 6.
    assert answer.windows == 2 * 9 * 49


def test_empty_windows_are_left_out_by_a_rule_that_the_map_keeps(
    store: ObjectStore, inference: InferenceServiceStub, picture: npt.NDArray[np.uint8]
) -> None:
    half = picture.copy()
    half[:, :, 100:] = 80
    create_array(store, HALF, shape=SHAPE, dtype=np.uint8, chunks=SHAPE).write(half).result()
    rule = pb.EmptyRule(contrast=0)

    answer = inference.SegmentBlock(block(image=HALF, empty=rule, overlap=0.0))
    refused = failure(lambda: inference.SegmentBlock(block(image=HALF, overlap=0.0)))

    found = map_of(store)
    assert np.abs(found - half)[..., :96].max() <= 1
    assert not found[..., 104:].any()
    # The column that begins at 96 holds the last pixels that differ.
    assert (answer.windows, answer.windows_skipped) == (2 * 5 * 13, 2 * 5 * 12)
    assert array_attributes(store, PREDICTION)["parfocal"]["empty"] == {"contrast": 0}
    assert refused[1] == "ERROR_REASON_ARTIFACT_EXISTS"


def test_an_augmented_map_says_so(
    store: ObjectStore, inference: InferenceServiceStub, picture: npt.NDArray[np.uint8]
) -> None:
    inference.SegmentBlock(block(augmentation=16))
    refused = failure(lambda: inference.SegmentBlock(block(augmentation=8)))

    assert np.abs(map_of(store) - picture).max() <= 1
    assert array_attributes(store, PREDICTION)["parfocal"]["augmentation"] == 16
    assert refused[1] == "ERROR_REASON_ARTIFACT_EXISTS"


def test_a_block_that_needs_more_memory_than_it_may_take_is_refused(
    store: ObjectStore, served: Served
) -> None:
    with served(store, max_block_bytes=100_000) as channel:
        stub = InferenceServiceStub(channel)
        code, reason, metadata = failure(lambda: stub.SegmentBlock(block()))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_FIELD")
    assert metadata["field"] == "box"
    assert int(metadata["value"]) > 100_000
    assert not list(store.list("projects/demo/predictions"))


def test_a_block_that_is_there_is_not_computed_again(inference: InferenceServiceStub) -> None:
    first = inference.SegmentBlock(block())

    again = inference.SegmentBlock(block())

    assert (first.already_done, again.already_done) == (False, True)
    assert (again.windows, again.model_seconds) == (0, 0)


def test_an_absolute_uri_inside_the_store_names_the_same_array(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    request = block()
    inference.SegmentBlock(request)

    again = inference.SegmentBlock(
        block(
            image=f"{store.root}/{request.image}", prediction=f"{store.root}/{request.prediction}"
        )
    )

    assert again.already_done


def test_blocks_at_the_same_time_make_one_map(
    store: ObjectStore, inference: InferenceServiceStub, picture: npt.NDArray[np.uint8]
) -> None:
    columns = [block(box=box(0, 0, x, 6, 40, x + 64)) for x in (10, 100, 136)]

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(inference.SegmentBlock, columns))

    assert not answers[2].already_done
    assert np.abs(map_of(store) - picture).max() <= 1


def test_a_box_that_cuts_chunks_is_widened_to_them(
    store: ObjectStore, inference: InferenceServiceStub, picture: npt.NDArray[np.uint8]
) -> None:
    inference.SegmentBlock(block(box=box(1, 2, 3, 2, 3, 4)))

    again = inference.SegmentBlock(block(box=box(0, 0, 0, 6, 40, 128)))

    assert again.already_done
    assert np.abs(map_of(store) - picture)[..., :128].max() <= 1
    assert not map_of(store)[..., 128:].any()


@pytest.mark.parametrize(
    ("changes", "code", "reason", "field"),
    [
        ({"box": box(0, 0, 0, 6, 40, 201)}, "INVALID_ARGUMENT", "BOX_OUTSIDE_IMAGE", "box"),
        ({"box": box(-1, 0, 0, 6, 40, 200)}, "INVALID_ARGUMENT", "BOX_OUTSIDE_IMAGE", "box"),
        ({"box": box(0, 0, 0, 0, 40, 200)}, "INVALID_ARGUMENT", "INVALID_BOX", "box"),
        ({"box": box(0, 9, 0, 6, 3, 200)}, "INVALID_ARGUMENT", "INVALID_BOX", "box"),
        ({"box": box(0, 0, 0, 2**62, 2**62, 9)}, "INVALID_ARGUMENT", "INVALID_FIELD", "box"),
        ({"box": geometry_pb2.Box()}, "INVALID_ARGUMENT", "INVALID_BOX", "box"),
        ({"box": None}, "INVALID_ARGUMENT", "MISSING_FIELD", "box"),
        ({"image": ""}, "INVALID_ARGUMENT", "MISSING_FIELD", "image"),
        ({"image": "projects//0"}, "INVALID_ARGUMENT", "INVALID_URI", "image"),
        ({"image": "projects/none"}, "NOT_FOUND", "ARTIFACT_NOT_FOUND", "image"),
        ({"image": "../outside"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "image"),
        ({"image": "projects/../../x"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "image"),
        ({"image": "/etc/passwd"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "image"),
        ({"image": "s3://bucket/x"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "image"),
        ({"prediction": ""}, "INVALID_ARGUMENT", "MISSING_FIELD", "prediction"),
        ({"prediction": "models/grey/1"}, "INVALID_ARGUMENT", "INVALID_URI", "prediction"),
        ({"prediction": "../map"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "prediction"),
        ({"model": None}, "INVALID_ARGUMENT", "MISSING_FIELD", "model"),
        (
            {"model": artifact_pb2.ModelVersion(name="grey", version=-1)},
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "model",
        ),
        (
            {"model": artifact_pb2.ModelVersion(name="pixels")},
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "model",
        ),
        ({"overlap": 0.9}, "INVALID_ARGUMENT", "INVALID_FIELD", "overlap"),
        ({"overlap": -0.1}, "INVALID_ARGUMENT", "INVALID_FIELD", "overlap"),
        ({"overlap": NAN}, "INVALID_ARGUMENT", "INVALID_FIELD", "overlap"),
        ({"augmentation": 2}, "INVALID_ARGUMENT", "INVALID_FIELD", "augmentation"),
        ({"augmentation": -1}, "INVALID_ARGUMENT", "INVALID_FIELD", "augmentation"),
        (
            {"empty": pb.EmptyRule(contrast=256)},
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
            "empty.contrast",
        ),
    ],
)
def test_a_block_that_can_never_be_predicted_is_refused_with_its_field(
    store: ObjectStore,
    inference: InferenceServiceStub,
    changes: dict[str, Any],
    code: str,
    reason: str,
    field: str,
) -> None:
    found = failure(lambda: inference.SegmentBlock(block(**changes)))

    assert found[:2] == (grpc.StatusCode[code], f"ERROR_REASON_{reason}")
    assert found[2]["field"] == field
    assert not list(store.list("projects/demo/predictions"))


@pytest.mark.parametrize(("name", "version"), [("none", 0), ("grey", 7), ("../grey", 1)])
def test_an_unknown_model_is_not_found(
    inference: InferenceServiceStub, name: str, version: int
) -> None:
    model = artifact_pb2.ModelVersion(name=name, version=version)

    code, reason, metadata = failure(lambda: inference.SegmentBlock(block(model=model)))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ERROR_REASON_MODEL_NOT_FOUND")
    assert metadata["model"] == name


def test_a_map_of_other_parameters_is_not_mixed_with(inference: InferenceServiceStub) -> None:
    inference.SegmentBlock(block(box=box(0, 0, 0, 6, 16, 16)))

    code, reason, metadata = failure(lambda: inference.SegmentBlock(block(overlap=0.25)))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")
    assert metadata["name"] == PREDICTION


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        (SHAPE, np.uint16, "ERROR_REASON_DTYPE_MISMATCH"),
        ((40, 200), np.uint8, "ERROR_REASON_SHAPE_MISMATCH"),
    ],
)
def test_an_array_that_is_no_image_is_refused(
    store: ObjectStore,
    inference: InferenceServiceStub,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    reason: str,
) -> None:
    create_array(store, "projects/demo/images/odd", shape=shape, dtype=dtype, chunks=shape)

    found = failure(lambda: inference.SegmentBlock(block(image="projects/demo/images/odd")))

    assert found[:2] == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert found[2]["field"] == "image"


@pytest.mark.parametrize(
    ("dtype", "chunks", "key"),
    [
        (np.float32, (6, 40, 128), ""),
        (np.int8, (6, 40, 128), ""),
        (np.uint8, (1, 3, 5), ""),
        (np.uint8, (6, 40, 200), ""),
        (np.uint8, (6, 40, 128), "../../../../elsewhere"),
    ],
    ids=["floats", "signed", "chunks across boxes", "one chunk", "a name that leads out"],
)
def test_a_map_that_cannot_be_written_in_boxes_is_left_alone(
    store: ObjectStore,
    inference: InferenceServiceStub,
    dtype: npt.DTypeLike,
    chunks: tuple[int, ...],
    key: str,
) -> None:
    made_from = {"overlap": 0.5, "model": "grey", "version": 1, "image": IMAGE, "id": key}
    create_array(
        store,
        PREDICTION,
        shape=SHAPE,
        dtype=dtype,
        chunks=chunks,
        attributes={"parfocal": made_from},
    )

    code, reason, metadata = failure(lambda: inference.SegmentBlock(block()))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")
    assert metadata["field"] == "prediction"


def test_an_image_whose_scale_makes_no_sense_has_plain_voxels(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    group = IMAGE.rpartition("/")[0]
    dataset = {"path": "0", "coordinateTransformations": 7}
    create_group(
        store, group, attributes={"ome": {"multiscales": [{"axes": 5, "datasets": [dataset]}]}}
    )

    inference.SegmentBlock(block())

    (made,) = array_attributes(store, PREDICTION.rpartition("/")[0])["ome"]["multiscales"]
    assert [axis["name"] for axis in made["axes"]] == ["z", "y", "x"]


def test_a_damaged_chunk_names_the_field_of_its_image(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    store.write(f"{IMAGE}/c/0/0/0", b"no chunk")

    _, reason, metadata = failure(lambda: inference.SegmentBlock(block()))

    assert (reason, metadata["field"]) == ("ERROR_REASON_INVALID_ARTIFACT", "image")


def test_a_model_that_runs_on_pairs_alone_makes_no_map(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    shape = (2, 1, 4, 8, 8)
    pairs = graph(
        [helper.make_node("Cast", ["image"], ["probability"], to=TensorProto.FLOAT)],
        inputs=[("image", TensorProto.UINT8, shape)],
        outputs=[("probability", TensorProto.FLOAT, shape)],
    )
    card = base_card(
        "Pairs.",
        test_input=np.ones(shape, np.uint8),
        test_output=np.ones(shape, np.float32),
        halo=(0, 0, 0),
        voxel_size_nm=(1.0, 1.0, 1.0),
    )
    ModelRepository(store).publish("pairs", pairs, card=card, lineage={})
    request = block(model=artifact_pb2.ModelVersion(name="pairs"))

    code, reason, metadata = failure(lambda: inference.SegmentBlock(request))

    assert (code, reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ERROR_REASON_MODEL_NOT_READY",
    )
    assert "cannot run" in metadata["cause"]


def test_a_model_that_gives_no_volumes_is_no_base_model(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    window, rows = (1, 1, 4, 8, 8), (1, 256)
    flat = graph(
        [
            helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["grey"], ["probability"]),
        ],
        inputs=[("image", TensorProto.UINT8, ("n", *window[1:]))],
        outputs=[("probability", TensorProto.FLOAT, ("n", 256))],
    )
    card = base_card(
        "Flat.",
        test_input=np.ones(window, np.uint8),
        test_output=np.ones(window, np.float32),
        halo=(0, 0, 0),
        voxel_size_nm=(1.0, 1.0, 1.0),
    )
    axes = (AxisCard("batch", "batch", 1, fixed=False), AxisCard("index", "index", 256))
    outputs = (TensorCard("probability", axes, np.ones(rows, np.float32)),)
    ModelRepository(store).publish("flat", flat, card=replace(card, outputs=outputs), lineage={})
    request = block(model=artifact_pb2.ModelVersion(name="flat"))

    code, reason, metadata = failure(lambda: inference.SegmentBlock(request))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_FIELD")
    assert metadata["field"] == "model"


def test_a_model_that_returns_no_numbers_makes_no_map(
    store: ObjectStore, inference: InferenceServiceStub
) -> None:
    window = (1, 1, 4, 8, 8)
    root = graph(
        [
            helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["grey", "ten"], ["less"]),
            helper.make_node("Sqrt", ["less"], ["probability"]),
        ],
        inputs=[("image", TensorProto.UINT8, ("n", *window[1:]))],
        outputs=[("probability", TensorProto.FLOAT, ("n", *window[1:]))],
        constants=[helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])],
    )
    card = base_card(
        "The root of what is above ten.",
        test_input=np.full(window, 10, np.uint8),
        test_output=np.zeros(window, np.float32),
        halo=(0, 0, 0),
        voxel_size_nm=(1.0, 1.0, 1.0),
    )
    ModelRepository(store).publish("root", root, card=card, lineage={})
    dark = "projects/demo/images/dark"
    create_array(store, dark, shape=SHAPE, dtype=np.uint8, chunks=SHAPE)
    request = block(image=dark, model=artifact_pb2.ModelVersion(name="root"))

    code, reason, metadata = failure(lambda: inference.SegmentBlock(request))

    assert (code, reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ERROR_REASON_MODEL_NOT_READY",
    )
    assert "not finite" in metadata["cause"]


def test_an_annotator_may_not_start_bulk_work(store: ObjectStore, served: Served) -> None:
    with served(store, anonymous_role="annotator") as channel:
        code, reason, _ = failure(lambda: InferenceServiceStub(channel).SegmentBlock(block()))

    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "ERROR_REASON_ROLE_TOO_LOW")


def test_work_that_nobody_waits_for_makes_room_for_other_work(
    store: ObjectStore, served: Served
) -> None:
    large = "projects/demo/images/large"
    create_array(store, large, shape=(64, 512, 512), dtype=np.uint8, chunks=(16, 128, 128))
    endless = block(
        image=large,
        prediction="projects/demo/predictions/large",
        box=box(0, 0, 0, 64, 512, 512),
        overlap=0.8,
    )

    with served(store, parallel_blocks=1) as channel:
        stub = InferenceServiceStub(channel)
        code, _, _ = failure(lambda: stub.SegmentBlock(endless, timeout=0.5))
        answer = stub.SegmentBlock(block(), timeout=30)

    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert not answer.already_done
    assert not list(store.list("projects/demo/predictions/large.blocks"))


def test_a_block_waits_until_work_that_nobody_waits_for_has_ended(
    store: ObjectStore, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, quick = 0, 0, threading.Event()
    run = BaseModel.__call__

    # Windows that take longer than a caller waits; there is one run at a time in a block.
    def slow(model: BaseModel, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        quick.wait(0.5)
        at_work -= 1
        return run(model, windows)

    monkeypatch.setattr(BaseModel, "__call__", slow)
    with served(store, parallel_blocks=1) as channel:
        stub = InferenceServiceStub(channel)
        for _ in range(3):
            code, _, _ = failure(lambda: stub.SegmentBlock(block(), timeout=0.3))
            assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        quick.set()
        stub.SegmentBlock(block(), timeout=60)

    assert most == 1
