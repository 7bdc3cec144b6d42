from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from parfocal_runtime.arrays import open_array
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import create_table
from parfocal_training import patches
from parfocal_training.patches import image_patches, mask_patches
from training_lab import CANDIDATES, IMAGE, SET, SIDE, TrainingLab


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return TrainingLab(open_store(tmp_path.as_uri())).store


def seeded() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_large_image_is_read_patch_by_patch_with_the_same_result(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = patches.READS_AT_ONCE + 50
    whole = image_patches(store, [IMAGE], count=count, side=SIDE, rng=seeded())

    # The limit is lowered: an image above the real one takes seconds to write.
    monkeypatch.setattr(patches, "WHOLE_IMAGE_VOXELS", 1)
    one_by_one = image_patches(store, [IMAGE], count=count, side=SIDE, rng=seeded())

    assert whole.shape == (count, SIDE, SIDE)
    assert whole.std() > 0
    np.testing.assert_array_equal(one_by_one, whole)


def test_an_image_narrower_than_a_patch_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidInput) as caught:
        image_patches(store, [IMAGE], count=1, side=64, rng=seeded())

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert caught.value.metadata["field"] == "images"


def test_masks_are_drawn_from_all_sets_and_each_at_most_once(store: ObjectStore) -> None:
    masks = mask_patches(store, [SET, SET], count=1000, side=SIDE, rng=seeded())

    stored = np.asarray(open_array(store, f"{SET}/patches.zarr/mask").read().result())
    assert len(masks) == 2 * CANDIDATES
    np.testing.assert_array_equal(masks, np.concatenate([stored, stored]))


def test_masks_of_another_side_are_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidInput) as caught:
        mask_patches(store, [SET], count=4, side=SIDE + 1, rng=seeded())

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert caught.value.metadata["field"] == "patch_side"


def test_sets_without_candidates_are_too_few_labels(store: ObjectStore) -> None:
    nobody = "projects/demo/candidates/nobody"
    create_table(
        store, f"{nobody}/table.parquet", pa.table({"candidate": pa.array([], pa.int64())})
    )

    with pytest.raises(WrongState) as caught:
        mask_patches(store, [nobody], count=4, side=SIDE, rng=seeded())

    assert caught.value.reason == "ERROR_REASON_TOO_FEW_LABELS"
