from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import LocalStore
from parfocal_runtime.tables import create_table
from parfocal_training.candidates import open_candidates, read_judgements, read_patches
from parfocal_training.regions import open_image, open_truth
from training_lab import IMAGE, SET, SHAPE, SIDE, TRUTH, TrainingLab

OTHER = "projects/demo/images/other.ome.zarr/0"


@pytest.fixture
def lab(tmp_path: Path) -> TrainingLab:
    return TrainingLab(LocalStore(tmp_path / "store"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros(SHAPE, np.uint16), "ERROR_REASON_DTYPE_MISMATCH"),
        (np.zeros(SHAPE[1:], np.uint8), "ERROR_REASON_SHAPE_MISMATCH"),
    ],
    ids=["uint16", "flat"],
)
def test_an_image_of_another_kind_is_refused(
    lab: TrainingLab, data: np.ndarray, reason: str
) -> None:
    lab.write(OTHER, data)

    with pytest.raises(InvalidInput) as caught:
        open_image(lab.store, OTHER, field="regions.image")

    assert caught.value.reason == reason
    assert caught.value.metadata["field"] == "regions.image"


def test_a_truth_that_does_not_lie_on_its_image_is_refused(lab: TrainingLab) -> None:
    lab.write(OTHER, np.zeros((SHAPE[0], SHAPE[1], SHAPE[2] + 1), np.uint8))
    image = open_image(lab.store, IMAGE, field="regions.image")

    with pytest.raises(InvalidInput) as caught:
        open_truth(lab.store, OTHER, image, field="regions.truth")

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert open_truth(lab.store, TRUTH, image, field="regions.truth").shape == SHAPE


def test_a_candidate_knows_the_image_that_it_was_found_in(lab: TrainingLab) -> None:
    folder = "projects/demo/candidates/second"
    lab.store.write(f"{folder}/set.json", json.dumps({"sources": [{"image": IMAGE}] * 2}).encode())
    boxes = {name: [0, 1] for name in ("z0", "y0", "x0")} | {n: [1, 2] for n in ("z1", "y1", "x1")}
    create_table(lab.store, f"{folder}/table.parquet", pa.table({"source": [1, 0], **boxes}))

    two, one = open_candidates(lab.store, folder), open_candidates(lab.store, SET)

    assert [two.source(0), two.source(1), one.source(1)] == [1, 0, 0]
    assert two.images == (IMAGE, IMAGE)
    assert two.box(1).stop == (2, 2, 2)


def test_a_set_that_does_not_say_where_it_was_found_is_refused(lab: TrainingLab) -> None:
    lab.store.write(f"{SET}/set.json", b"[]")

    with pytest.raises(InvalidInput, match="does not say what the candidates were found in"):
        open_candidates(lab.store, SET)


def test_a_table_that_is_no_snapshot_is_refused(lab: TrainingLab) -> None:
    create_table(lab.store, "projects/demo/snapshots/t.parquet", pa.table({"candidate": [1]}))

    with pytest.raises(InvalidInput) as caught:
        read_judgements(lab.store, ["projects/demo/snapshots/t.parquet"], [])

    assert caught.value.metadata["field"] == "snapshots"


def test_patches_come_in_the_order_of_the_rows(lab: TrainingLab) -> None:
    candidates = open_candidates(lab.store, SET)
    every = read_patches(lab.store, candidates, "image", np.arange(len(candidates)))

    some = read_patches(lab.store, candidates, "image", np.array([5, 2]))

    np.testing.assert_array_equal(some, every[[5, 2]])
    nothing = read_patches(lab.store, candidates, "mask", np.empty(0, np.int64))
    assert nothing.shape == (0, SIDE, SIDE)
    assert nothing.dtype == np.int8
