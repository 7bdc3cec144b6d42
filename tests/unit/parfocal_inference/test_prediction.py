from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parfocal_inference.prediction import Prediction
from parfocal_runtime.arrays import array_attributes, create_array, create_group, open_array
from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists
from parfocal_runtime.store import LocalStore, ObjectStore

GROUP = "projects/demo/predictions/vnc/unet-1.ome.zarr"
PATH = f"{GROUP}/0"
IMAGE = "projects/demo/images/vnc.ome.zarr/1"
SHAPE = (20, 200, 40)
BOX = Box((0, 0, 0), (16, 128, 40))
MADE_FROM = {"model": "unet", "version": 1, "overlap": 0.25}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path)


def opened(store: ObjectStore, **changes: Any) -> Prediction:
    return Prediction.opened(
        store,
        changes.pop("path", PATH),
        image=changes.pop("image", IMAGE),
        shape=changes.pop("shape", SHAPE),
        made_from={**MADE_FROM, **changes},
    )


def fill(prediction: Prediction, value: int = 1) -> None:
    prediction.write(BOX, np.full(BOX.shape, value, np.uint8))
    prediction.finish(BOX)


def test_a_new_map_has_the_shape_of_the_image_and_holds_nothing(store: ObjectStore) -> None:
    prediction = opened(store)

    array = open_array(store, PATH)
    assert array.shape == SHAPE
    assert array.dtype.numpy_dtype == np.uint8
    assert array.chunk_layout.read_chunk.shape == (16, 128, 40)
    assert not prediction.has(BOX)


def test_a_block_that_was_written_is_on_record_for_the_next_opening(store: ObjectStore) -> None:
    fill(opened(store), 7)

    again = opened(store)

    assert again.has(BOX)
    assert not again.has(Box((0, 0, 0), (16, 128, 39)))
    assert open_array(store, PATH)[0, 0, 0].read().result() == 7


@pytest.mark.parametrize(
    ("box", "widened"),
    [
        (BOX, BOX),
        (Box((3, 5, 7), (4, 6, 8)), BOX),
        (Box((15, 127, 0), (17, 129, 1)), Box((0, 0, 0), (20, 200, 40))),
        (Box((16, 128, 0), (20, 200, 40)), Box((16, 128, 0), (20, 200, 40))),
    ],
)
def test_a_box_is_widened_to_whole_chunks(box: Box, widened: Box) -> None:
    assert Prediction.whole_chunks(box, SHAPE) == widened


def test_a_block_that_was_written_but_not_finished_is_not_on_record(store: ObjectStore) -> None:
    opened(store).write(BOX, np.ones(BOX.shape, np.uint8))

    assert not opened(store).has(BOX)


def test_the_record_of_a_deleted_map_does_not_count(store: ObjectStore) -> None:
    fill(opened(store))
    store.delete_prefix(GROUP)

    assert not opened(store).has(BOX)


def test_the_record_lies_outside_of_the_group(store: ObjectStore) -> None:
    fill(opened(store))

    assert set(store.children("projects/demo/predictions/vnc")) == {
        "unet-1.ome.zarr",
        "unet-1.ome.zarr.blocks",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"version": 2},
        {"overlap": 0.5},
        {"image": "another"},
        {"shape": (20, 200, 41)},
    ],
)
def test_a_map_made_from_something_else_is_refused(
    store: ObjectStore, changes: dict[str, Any]
) -> None:
    opened(store)

    with pytest.raises(AlreadyExists) as caught:
        opened(store, **changes)

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"


def test_an_array_of_another_origin_is_refused(store: ObjectStore) -> None:
    create_array(store, PATH, shape=SHAPE, dtype=np.uint8, chunks=SHAPE)

    with pytest.raises(AlreadyExists):
        opened(store)


def test_the_map_takes_over_the_scale_of_its_image(store: ObjectStore) -> None:
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scales = [[{"type": "scale", "scale": scale}] for scale in ([50.0, 4.6, 4.6], [50.0, 9.2, 9.2])]
    datasets = [
        {"path": str(level), "coordinateTransformations": scale}
        for level, scale in enumerate(scales)
    ]
    multiscales = [{"axes": axes, "datasets": datasets}]
    create_group(
        store,
        "projects/demo/images/vnc.ome.zarr",
        attributes={"ome": {"version": "0.5", "multiscales": multiscales}},
    )

    opened(store)

    ome = array_attributes(store, GROUP)["ome"]
    assert ome["multiscales"][0]["axes"] == axes
    assert ome["multiscales"][0]["datasets"] == [
        {"path": "0", "coordinateTransformations": scales[1]}
    ]


@pytest.mark.parametrize(
    "attributes", [None, {}, {"ome": {"multiscales": []}}, {"multiscales": [{"datasets": 3}]}]
)
def test_an_image_without_a_scale_gives_voxels(
    store: ObjectStore, attributes: dict[str, Any] | None
) -> None:
    if attributes is not None:
        create_group(store, "projects/demo/images/vnc.ome.zarr", attributes=attributes)

    opened(store)

    (dataset,) = array_attributes(store, GROUP)["ome"]["multiscales"][0]["datasets"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]


def test_a_plain_folder_gets_no_group(store: ObjectStore) -> None:
    opened(store, path="projects/demo/predictions/plain")

    assert not store.exists("projects/demo/predictions/zarr.json")
