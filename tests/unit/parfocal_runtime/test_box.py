from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.box import Box, require_inside
from parfocal_runtime.errors import InvalidInput

sides = st.tuples(*[st.integers(1, 9)] * 3)
corners = st.tuples(*[st.integers(-5, 5)] * 3)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    start, shape = draw(corners), draw(sides)
    z, y, x = (a + side for a, side in zip(start, shape, strict=True))
    return Box(start, (z, y, x))


def voxels(box: Box) -> set[tuple[int, ...]]:
    ranges = (range(a, b) for a, b in zip(box.start, box.stop, strict=True))
    return {tuple(map(int, each)) for each in np.stack(np.meshgrid(*ranges), -1).reshape(-1, 3)}


@pytest.mark.parametrize("stop", [(0, 1, 1), (1, 1, 0), (1, -1, 1)])
def test_a_box_without_voxels_is_refused(stop: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Box((0, 0, 0), stop)

    assert caught.value.reason == "ERROR_REASON_INVALID_BOX"


@given(box=boxes(), shape=sides)
def test_blocks_tile_a_box_without_gap_or_overlap(box: Box, shape: tuple[int, int, int]) -> None:
    blocks = list(box.blocks(shape))

    assert sum(block.voxels for block in blocks) == box.voxels
    assert set().union(*map(voxels, blocks)) == voxels(box)
    assert all(np.less_equal(block.shape, shape).all() for block in blocks)
    assert blocks == sorted(blocks)


@given(one=boxes(), other=boxes())
def test_the_intersection_holds_the_common_voxels(one: Box, other: Box) -> None:
    common = one.intersection(other)

    assert (voxels(common) if common else set()) == voxels(one) & voxels(other)
    assert common == other.intersection(one)
    assert one.contains(other) == (common == other)


@given(box=boxes(), margin=st.tuples(*[st.integers(0, 4)] * 3), within=boxes())
def test_a_grown_box_stays_within(box: Box, margin: tuple[int, int, int], within: Box) -> None:
    inner = box.intersection(within)
    if inner is None:
        return

    grown = inner.grown(margin, within=within)

    assert within.contains(grown)
    assert grown.contains(inner)
    assert np.less_equal(np.subtract(inner.start, grown.start), margin).all()


@given(box=boxes(), origin=corners)
def test_moving_the_origin_keeps_the_shape(box: Box, origin: tuple[int, int, int]) -> None:
    moved = box.relative_to(origin)

    assert moved.shape == box.shape
    assert tuple(np.add(moved.start, origin)) == box.start


def test_slices_cut_the_box_out_of_its_array() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)

    assert array[Box((1, 2, 3), (2, 4, 6)).slices].tolist() == array[1:2, 2:4, 3:6].tolist()


def test_a_box_outside_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        require_inside(Box((0, 0, 0), (3, 3, 4)), (3, 3, 3), field="patch")

    assert caught.value.reason == "ERROR_REASON_BOX_OUTSIDE_IMAGE"
    assert caught.value.metadata["field"] == "patch"
