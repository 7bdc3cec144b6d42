"""Packages of bioimage.io as base models of `SegmentBlock`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from inference_requests import PREDICTION, block
from model_packages import (
    CELLS_SHAPE,
    PackageFiles,
    affine_graph,
    cells_package,
    cells_package_0_4,
    cells_pixels,
    cells_probability,
    package_0_5,
)
from parfocal.common.v1 import artifact_pb2
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.segment import segment_block
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.arrays import open_array
from parfocal_runtime.box import Box
from parfocal_runtime.models.packages.publishing import publish_package
from parfocal_runtime.store import ObjectStore

SHAPE = (6, 40, 200)


@pytest.mark.parametrize(
    ("make", "window"), [(cells_package, (16, 16, 16)), (cells_package_0_4, (8, 16, 16))]
)
def test_a_package_predicts_an_image_window_by_window(
    make: Callable[[], PackageFiles],
    window: tuple[int, int, int],
    store: ObjectStore,
    inference: InferenceServiceStub,
    picture: npt.NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    publish_package(store, "cells", make().as_zip(tmp_path / "cells.zip"))

    answer = inference.SegmentBlock(block(model=artifact_pb2.ModelVersion(name="cells")))

    grid = WindowGrid.overlapping(SHAPE, window, overlap=0.5)
    expected = segment_block(
        lambda box: picture[box.slices], cells_probability, grid=grid, box=Box((0, 0, 0), SHAPE)
    )
    found = np.asarray(open_array(store, PREDICTION).read().result(), np.int64)
    assert answer.model == artifact_pb2.ModelVersion(name="cells", version=1)
    assert np.abs(found - expected).max() <= 1


def test_a_package_of_single_sections_predicts_a_volume_section_by_section(
    store: ObjectStore,
    inference: InferenceServiceStub,
    picture: npt.NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    raw = cells_pixels((1, 1, 16, 32))
    package = package_0_5(
        affine_graph(("n", 1, 16, 32), gain=1 / 255),
        raw,
        raw / np.float32(255),
        axes=("batch", "channel", "y", "x"),
    )
    publish_package(store, "sections", package.as_folder(tmp_path / "sections"))
    request = block(model=artifact_pb2.ModelVersion(name="sections"), augmentation=4)

    answer = inference.SegmentBlock(request)

    found = np.asarray(open_array(store, PREDICTION).read().result(), np.int64)
    assert np.abs(found - picture).max() <= 1
    starts = WindowGrid.overlapping(SHAPE, (1, 16, 32), overlap=0.5).starts
    assert answer.windows == np.prod([len(axis) for axis in starts])


def test_a_package_that_gives_no_probabilities_predicts_no_image(
    store: ObjectStore, inference: InferenceServiceStub, tmp_path: Path
) -> None:
    raw = cells_pixels()
    package = package_0_5(affine_graph(CELLS_SHAPE, gain=2.0), raw, raw * 2)
    publish_package(store, "doubled", package.as_folder(tmp_path / "doubled"))

    with pytest.raises(grpc.RpcError) as caught:
        inference.SegmentBlock(block(model=artifact_pb2.ModelVersion(name="doubled")))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
