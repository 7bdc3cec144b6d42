"""`DetectPatches` on a real server: a classifier of patches that slides over an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference_requests import box, failure
from onnx_graphs import graph
from parfocal.common.v1 import artifact_pb2
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_runtime.arrays import create_array
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table

IMAGE = "projects/demo/images/cells.ome.zarr/0"
TABLE = "projects/demo/detections/cells.parquet"
SHAPE = (3, 60, 90)
SIDE = 9
# Sections and middles (y, x) of the discs in the image.
DISCS = [(0, 20, 20), (0, 44, 70), (2, 12, 80), (2, 36, 40)]

Image = npt.NDArray[np.uint8]


def disc(side: int = SIDE) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side] - side // 2
    inside: npt.NDArray[np.bool_] = y**2 + x**2 <= (side // 2) ** 2
    return inside


def classifier(*, offset: float = -4.0) -> bytes:
    """Return a model of patches (N, 1, 9, 9): how much each looks like a disc, and the rest."""
    pattern = np.where(disc(), 1 / disc().sum(), -1 / (~disc()).sum())
    weights = np.stack([8 * pattern, np.zeros_like(pattern)]).astype(np.float32) / 255
    return graph(
        [
            helper.make_node("Cast", ["patch"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["grey", "weights", "bias"], ["match"]),
            helper.make_node("Flatten", ["match"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        ],
        inputs=[("patch", TensorProto.UINT8, ("n", 1, SIDE, SIDE))],
        outputs=[("probability", TensorProto.FLOAT, ("n", 2))],
        constants=[
            numpy_helper.from_array(weights[:, None], "weights"),
            numpy_helper.from_array(np.array([offset, 0], np.float32), "bias"),
        ],
    )


@pytest.fixture
def image(store: ObjectStore, tmp_path: Path) -> Image:
    """An image with discs on it, and the models `discs` and `odd`, in the store."""
    noise = np.random.default_rng(0).integers(0, 60, SHAPE)
    pixels = np.asarray(noise, np.uint8)
    reach = SIDE // 2
    for z, y, x in DISCS:
        pixels[z, y - reach : y + reach + 1, x - reach : x + reach + 1][disc()] += 180
    create_array(store, IMAGE, shape=SHAPE, dtype=np.uint8, chunks=(2, 32, 32)).write(
        pixels
    ).result()
    file = tmp_path / "discs.onnx"
    file.write_bytes(classifier())
    publish_file(store, "discs", file)
    return pixels


def wish(**changes: Any) -> pb.DetectPatchesRequest:
    """Return a request to find all discs, with `changes`."""
    fields: dict[str, Any] = {
        "image": IMAGE,
        "detections": TABLE,
        "box": box(0, 0, 0, *SHAPE),
        "model": artifact_pb2.ModelVersion(name="discs"),
        "left_out": [1],
    }
    return pb.DetectPatchesRequest(**{**fields, **changes})


def places(store: ObjectStore, table: str = TABLE) -> list[tuple[int, float, float]]:
    """Return section and middle of the detections of a table."""
    found = read_table(store, table)
    return list(
        zip(found["z0"].to_pylist(), found["cy"].to_pylist(), found["cx"].to_pylist(), strict=True)
    )


def test_discs_are_found_where_they_are(
    store: ObjectStore, inference: InferenceServiceStub, image: Image
) -> None:
    answer = inference.DetectPatches(wish())

    # The middle of a patch that starts at pixel 16 and has 9 is at 20.5, the disc's own middle.
    assert places(store) == [(z, y + 0.5, x + 0.5) for z, y, x in DISCS]
    assert (answer.count, answer.already_done, answer.detections) == (4, False, TABLE)
    table = read_table(store, TABLE)
    assert set(table["class"].to_pylist()) == {0}
    assert min(table["confidence"].to_pylist()) > 0.5
    assert np.array_equal(
        np.stack([table["y1"].to_numpy() - table["y0"].to_numpy(), table["x1"].to_numpy()]),
        np.stack([np.full(4, SIDE), table["x0"].to_numpy() + SIDE]),
    )


def test_boxes_find_together_what_the_whole_finds(
    store: ObjectStore, inference: InferenceServiceStub, image: Image
) -> None:
    inference.DetectPatches(wish())
    pieces = [box(0, 0, 0, 1, 60, 90), box(1, 0, 0, 3, 60, 40), box(1, 0, 40, 3, 60, 90)]
    found = []
    for number, piece in enumerate(pieces):
        table = f"projects/demo/detections/{number}.parquet"
        inference.DetectPatches(wish(detections=table, box=piece))
        found += places(store, table)

    assert sorted(found) == places(store)


def test_a_table_that_is_there_is_not_made_again(
    inference: InferenceServiceStub, image: Image
) -> None:
    inference.DetectPatches(wish())

    again = inference.DetectPatches(wish(threshold=0.5, stride=1))
    other = failure(lambda: inference.DetectPatches(wish(threshold=0.9)))

    assert (again.count, again.already_done) == (4, True)
    assert other[:2] == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")


def test_nothing_found_is_an_empty_table(
    store: ObjectStore, inference: InferenceServiceStub, image: Image
) -> None:
    answer = inference.DetectPatches(wish(box=box(1, 0, 0, 2, 60, 90)))

    assert (answer.count, places(store)) == (0, [])


@pytest.mark.parametrize(
    ("changes", "code", "reason", "field"),
    [
        ({"box": None}, "INVALID_ARGUMENT", "MISSING_FIELD", "box"),
        ({"box": box(0, 0, 0, 3, 60, 91)}, "INVALID_ARGUMENT", "BOX_OUTSIDE_IMAGE", "box"),
        ({"image": ""}, "INVALID_ARGUMENT", "MISSING_FIELD", "image"),
        ({"detections": "projects/demo/x.csv"}, "INVALID_ARGUMENT", "INVALID_URI", "detections"),
        ({"detections": "../x.parquet"}, "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS", "detections"),
        ({"stride": -1}, "INVALID_ARGUMENT", "INVALID_FIELD", "stride"),
        ({"threshold": 1.5}, "INVALID_ARGUMENT", "INVALID_FIELD", "threshold"),
        ({"left_out": [2]}, "INVALID_ARGUMENT", "INVALID_FIELD", "left_out"),
        (
            {"model": artifact_pb2.ModelVersion(name="grey")},
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
    ],
)
def test_what_can_never_be_detected_is_refused_with_its_field(
    inference: InferenceServiceStub,
    image: Image,
    changes: dict[str, Any],
    code: str,
    reason: str,
    field: str,
) -> None:
    found = failure(lambda: inference.DetectPatches(wish(**changes)))

    assert found[:2] == (grpc.StatusCode[code], f"ERROR_REASON_{reason}")
    assert found[2]["field"] == field


def test_a_model_that_gives_no_probabilities_finds_nothing(
    store: ObjectStore, inference: InferenceServiceStub, image: Image, tmp_path: Path
) -> None:
    file = tmp_path / "odd.onnx"
    file.write_bytes(
        graph(
            [
                helper.make_node("Cast", ["patch"], ["grey"], to=TensorProto.FLOAT),
                helper.make_node("GlobalAveragePool", ["grey"], ["pooled"]),
                helper.make_node("Flatten", ["pooled"], ["mean"]),
            ],
            inputs=[("patch", TensorProto.UINT8, ("n", 1, SIDE, SIDE))],
            outputs=[("mean", TensorProto.FLOAT, ("n", 1))],
        )
    )
    publish_file(store, "odd", file)
    request = wish(model=artifact_pb2.ModelVersion(name="odd"), left_out=[])

    code, reason, metadata = failure(lambda: inference.DetectPatches(request))

    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ERROR_REASON_MODEL_NOT_READY")
    assert "between 0 and 1" in metadata["cause"]
    assert not store.exists(TABLE)
