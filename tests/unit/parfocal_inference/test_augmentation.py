from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from parfocal_inference.augmentation import Augmented
from parfocal_runtime.box import Triple
from parfocal_runtime.errors import InvalidInput

WINDOWS = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 5, 5), np.uint8)


def corner(windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Answer 1 at the first voxel of each window and 0 elsewhere, wherever it is turned."""
    found = np.zeros(windows.shape, np.float32)
    found[:, :, 0, 0, 0] = 1
    return found


def grey(windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (windows / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize("copies", [1, 4, 8, 16])
def test_a_model_that_turns_with_the_image_is_the_same_from_all_sides(copies: int) -> None:
    augmented = Augmented(grey, copies=copies, window=(2, 5, 5))

    assert np.array_equal(augmented(WINDOWS), grey(WINDOWS))


@pytest.mark.parametrize(("copies", "corners"), [(4, 4), (8, 4), (16, 8)])
def test_views_are_turned_back_before_they_are_averaged(copies: int, corners: int) -> None:
    found = Augmented(corner, copies=copies, window=(2, 5, 5))(WINDOWS)[0, 0]

    depths = (0, 1) if copies == 16 else (0,)
    expected = np.zeros((2, 5, 5))
    expected[np.ix_(depths, (0, 4), (0, 4))] = 1 / corners
    assert np.array_equal(found, expected)


def test_all_views_differ() -> None:
    seen: list[bytes] = []

    def predict(windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        seen.append(windows.tobytes())
        return grey(windows)

    Augmented(predict, copies=16, window=(2, 5, 5))(WINDOWS)

    assert len(seen) == len(set(seen)) == 16


@pytest.mark.parametrize(
    ("copies", "window"), [(2, (2, 5, 5)), (8, (2, 5, 6)), (16, (2, 6, 5)), (16, (1, 5, 5))]
)
def test_views_that_there_are_not_are_refused(copies: int, window: Triple) -> None:
    with pytest.raises(InvalidInput) as caught:
        Augmented(grey, copies=copies, window=window)

    assert caught.value.metadata == {"field": "augmentation", "value": str(copies)}
