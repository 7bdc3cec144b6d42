from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_inference.alignment import Mask, alignment_of, rotation


def turned_offsets(angle: float, size: int) -> npt.NDArray[np.float64]:
    """Where each pixel lies from the middle, (y, x), after a turn by `angle`."""
    y, x = np.indices((size, size)) - size // 2
    return np.stack([y, x], axis=-1) @ rotation(angle)


def bar(angle: float, *, length: float = 55, width: float = 5, size: int = 81) -> Mask:
    """A bar that stands upright after a turn by `angle`."""
    along, across = np.moveaxis(turned_offsets(angle, size), -1, 0)
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return np.asarray(inside, np.int8)


def wedge(angle: float) -> Mask:
    """A wedge whose thin end points down after a turn by `angle`."""
    along, across = np.moveaxis(turned_offsets(angle, 81), -1, 0)
    inside = (np.abs(along) <= 30) & (np.abs(across) <= (30 - along) / 5)
    return np.asarray(inside, np.int8)


def test_a_horizontal_bar_is_turned_by_90_degrees() -> None:
    mask = np.zeros((81, 81), np.int8)
    mask[38:43, 13:68] = 1

    found = alignment_of(mask)

    assert found.angle == pytest.approx(90)
    assert found.anisotropy == pytest.approx(11, rel=0.02)


def test_a_vertical_bar_stays() -> None:
    mask = np.zeros((81, 81), np.int8)
    mask[13:68, 38:43] = 1

    assert alignment_of(mask).angle == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(-89, 89))
def test_a_bar_is_turned_upright_from_any_angle(angle: float) -> None:
    found = alignment_of(bar(angle)).angle

    assert math.isclose((found - angle + 90) % 180 - 90, 0, abs_tol=2)


@settings(max_examples=60, deadline=None)
@given(st.floats(-179, 180))
def test_the_thin_end_comes_to_point_down(angle: float) -> None:
    found = alignment_of(wedge(angle)).angle

    assert math.isclose((found - angle + 180) % 360 - 180, 0, abs_tol=3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (20, 21)])
def test_a_mask_without_a_long_axis_is_not_turned(shape: tuple[int, int]) -> None:
    found = alignment_of(np.ones(shape, np.int8))

    assert math.isnan(found.angle)
    assert 1 <= found.anisotropy < 1.1


def test_a_line_one_pixel_wide_has_a_finite_anisotropy() -> None:
    found = alignment_of(np.ones((1, 9), np.int8))

    assert found.angle == pytest.approx(90)
    assert found.anisotropy == pytest.approx(9)


@pytest.mark.parametrize("angle", [-170, -90, -35, 0, 20, 90, 135, 180])
def test_the_side_that_is_plus_one_comes_to_lie_left(angle: float) -> None:
    mask = bar(angle, width=17)
    mask[turned_offsets(angle, 81)[..., 1] > 0] *= -1

    found = alignment_of(mask).angle

    assert math.isclose((found - angle + 180) % 360 - 180, 0, abs_tol=3)


def test_the_axis_of_two_sides_is_that_of_their_contact() -> None:
    mask = np.zeros((40, 60), np.int8)
    mask[5:35, 0:30], mask[5:35, 30:60] = 1, -1

    assert alignment_of(mask).angle == pytest.approx(0, abs=1)


def test_one_side_alone_is_aligned_like_any_mask() -> None:
    assert alignment_of(-wedge(30)).angle == pytest.approx(30, abs=1.5)
