from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_demo.crops import CropBox, choose_crops


def blobs(seed: int, shape: tuple[int, int, int] = (8, 128, 160)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, bool)
    for _ in range(12):
        z, y, x = rng.integers((0, 0, 0), np.subtract(shape, (2, 20, 20)))
        truth[z : z + 3, y : y + 20, x : x + 20] = True
    return truth


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_crops_lie_in_the_training_columns_and_hold_foreground(seed: int) -> None:
    truth = blobs(seed)
    crops = choose_crops(truth, count=3, shape=(4, 32, 32), columns=96)

    assert 1 <= len(crops) <= 3
    for crop in crops:
        assert crop.stop[2] <= 96
        assert truth[crop.slices].shape == (4, 32, 32)
        assert truth[crop.slices].any()


def test_crops_are_spread_over_the_sections_and_the_rows() -> None:
    crops = choose_crops(blobs(1), count=3, shape=(2, 32, 32), columns=160)

    assert [crop.start[0] for crop in crops] == [0, 3, 6]
    assert all(above.stop[1] <= below.start[1] for above, below in pairwise(crops))


def test_the_same_truth_gives_the_same_crops() -> None:
    first = choose_crops(blobs(2), count=4, shape=(4, 32, 32), columns=100)
    again = choose_crops(blobs(2), count=4, shape=(4, 32, 32), columns=100)

    assert first == again


def test_a_crop_is_cut_down_to_a_small_image() -> None:
    crops = choose_crops(np.ones((2, 20, 30), bool), count=1, shape=(4, 96, 96), columns=18)

    assert crops == [CropBox((0, 0, 0), (2, 20, 18))]


def test_a_training_part_without_foreground_is_refused() -> None:
    with pytest.raises(ValueError, match="no foreground"):
        choose_crops(np.zeros((2, 64, 64), bool), count=1, shape=(2, 32, 32), columns=40)


def test_columns_run_through_all_sections() -> None:
    column = CropBox((3, 10, 20), (4, 30, 40)).column_of(9)

    assert column == CropBox((0, 10, 20), (9, 30, 40))
