from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_inference.patches import Patch, Place, extract_patch, turned

Picture = npt.NDArray[np.uint8]


def place_of(labels: npt.NDArray[np.uint32], label: int, z: int = 0) -> Place:
    pixels = np.argwhere(labels[z] == label)
    (y0, x0), (y1, x1) = pixels.min(0).tolist(), (pixels.max(0) + 1).tolist()
    y, x = np.floor(pixels.mean(0) + 0.5).astype(int).tolist()
    return Place(label=label, z=z, centre=(y, x), low=(y0, x0), high=(y1, x1))


def patch_of(image: Picture, labels: npt.NDArray[np.uint32], label: int, *, side: int) -> Patch:
    z, y, x = image.shape
    return extract_patch(
        lambda box: image[box.slices],
        lambda box: labels[box.slices],
        place_of(labels, label),
        shape=(z, y, x),
        side=side,
    )


def noise(*shape: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_horizontal_bar_and_its_image_are_turned_upright_together() -> None:
    labels = np.zeros((1, 100, 100), np.uint32)
    labels[0, 48:53, 23:78] = 7
    image = noise(1, 100, 100)

    patch = patch_of(image, labels, 7, side=64)

    assert patch.alignment.angle == pytest.approx(90)
    assert np.array_equal(np.argwhere(patch.mask).min(0), [5, 30])
    assert np.array_equal(np.argwhere(patch.mask).max(0), [59, 34])
    expected = np.rot90(image[0, 50 - 32 : 50 + 33, 50 - 32 : 50 + 33])[:64, :64]
    assert np.array_equal(patch.image, expected)


def test_a_round_object_is_copied_to_the_pixel() -> None:
    labels = np.zeros((1, 60, 60), np.uint32)
    labels[0, 20:30, 30:40] = 1
    image = noise(1, 60, 60)

    patch = patch_of(image, labels, 1, side=16)

    assert math.isnan(patch.alignment.angle)
    assert np.array_equal(patch.image, image[0, 17:33, 27:43])
    assert patch.mask.sum() == 100


def test_other_objects_are_left_out_of_the_mask_only() -> None:
    labels = np.zeros((1, 60, 60), np.uint32)
    labels[0, 20:30, 30:40] = 1
    labels[0, 20:30, 41:45] = 2
    image = np.where(labels, 200, 50).astype(np.uint8)

    patch = patch_of(image, labels, 1, side=32)

    assert patch.mask.sum() == 100
    assert np.count_nonzero(patch.image == 200) == 140


def test_beyond_the_border_the_image_is_reflected_and_the_mask_is_empty() -> None:
    labels = np.zeros((1, 50, 50), np.uint32)
    labels[0, 0:6, 0:6] = 1
    image = noise(1, 50, 50)

    patch = patch_of(image, labels, 1, side=16)

    assert np.array_equal(patch.image, np.pad(image[0], 8, mode="reflect")[3:19, 3:19])
    assert patch.mask.sum() == 36
    assert not patch.mask[:5].any()


def test_an_image_smaller_than_the_patch_gives_a_patch() -> None:
    labels = np.ones((1, 3, 9), np.uint32)

    patch = patch_of(noise(1, 3, 9), labels, 1, side=32)

    assert patch.image.shape == patch.mask.shape == (32, 32)
    assert patch.mask.sum() == 27


def test_an_object_larger_than_the_patch_fills_it() -> None:
    labels = np.zeros((1, 300, 300), np.uint32)
    labels[0, 140:160, :] = 1

    patch = patch_of(noise(1, 300, 300), labels, 1, side=16)

    assert patch.alignment.angle == pytest.approx(90)
    assert patch.mask.all()


def test_an_object_with_nothing_near_its_middle_is_not_turned() -> None:
    labels = np.zeros((1, 1, 5000), np.uint32)
    labels[0, 0, [0, 4999]] = 1

    patch = patch_of(noise(1, 1, 5000), labels, 1, side=16)

    assert math.isnan(patch.alignment.angle)
    assert math.isnan(patch.alignment.anisotropy)
    assert not patch.mask.any()


@settings(max_examples=40, deadline=None)
@given(angle=st.floats(-180, 180), side=st.integers(4, 40))
def test_image_and_mask_are_turned_by_the_same_transform(angle: float, side: int) -> None:
    size = 2 * (math.ceil(1.415 * side / 2) + 1) + 1
    y, x = np.mgrid[:size, :size] - size // 2
    disk = ((y - size / 8) ** 2 + (x + size / 9) ** 2 < (size / 5) ** 2).astype(np.int8)

    image, mask = turned(200 * disk.astype(np.uint8), disk, side=side, angle=angle)

    # Interpolation and nearest pixel may differ on the outline, and nowhere else.
    assert not (mask[image == 200] == 0).any()
    assert not (mask[image == 0] == 1).any()


def test_a_turn_never_reads_outside_of_the_crop() -> None:
    size = 2 * (math.ceil(1.415 * 32 / 2) + 1) + 1

    for angle in range(-180, 181, 5):
        image, _ = turned(
            np.full((size, size), 255, np.uint8),
            np.zeros((size, size), np.int8),
            side=32,
            angle=angle,
        )
        assert image.min() == 255
