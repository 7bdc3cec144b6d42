from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_inference.windows import WindowGrid, blend_weight
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput


def sides(low: int, high: int) -> st.SearchStrategy[Triple]:
    side = st.integers(low, high)
    return st.tuples(side, side, side)


@st.composite
def grids(draw: st.DrawFn) -> WindowGrid:
    overlap = draw(st.floats(0, 0.9))
    return WindowGrid.overlapping(draw(sides(1, 40)), draw(sides(1, 16)), overlap=overlap)


@st.composite
def boxes_within(draw: st.DrawFn, shape: Triple) -> Box:
    starts = [draw(st.integers(0, side - 1)) for side in shape]
    stops = [draw(st.integers(low + 1, side)) for low, side in zip(starts, shape, strict=True)]
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def test_the_grid_of_the_method_has_6348_windows_and_a_clamped_last_one() -> None:
    grid = WindowGrid((100, 1024, 1024), (18, 160, 160), (8, 40, 40))

    z, y, x = grid.starts

    assert (len(z), len(y), len(x)) == (12, 23, 23)
    assert (z[-1], y[-1], x[-1]) == (82, 864, 864)


def test_an_image_smaller_than_the_window_lies_in_the_middle_of_the_only_one() -> None:
    grid = WindowGrid.overlapping((4, 7, 20), (8, 10, 10), overlap=0.5)

    assert grid.starts == ((-2,), (-1,), (0, 5, 10))


@settings(max_examples=60, deadline=None)
@given(grids())
def test_every_voxel_of_the_image_lies_in_a_window(grid: WindowGrid) -> None:
    for starts, window, size in zip(grid.starts, grid.window, grid.shape, strict=True):
        seen = {voxel for start in starts for voxel in range(start, start + window)}

        assert seen >= set(range(size))


@settings(max_examples=60, deadline=None)
@given(grids())
def test_no_window_leaves_an_image_that_is_large_enough(grid: WindowGrid) -> None:
    for starts, window, size in zip(grid.starts, grid.window, grid.shape, strict=True):
        if window <= size:
            assert starts[0] == 0
            assert starts[-1] + window == size


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_exactly_the_windows_that_share_a_voxel_touch_a_box(data: st.DataObject) -> None:
    grid = data.draw(grids())
    box = data.draw(boxes_within(grid.shape))

    touching = set(product(*grid.touching(box)))

    assert touching == {
        (z, y, x)
        for z, y, x in product(*grid.starts)
        if Box((z, y, x), tuple(np.add((z, y, x), grid.window).tolist())).intersection(box)
    }


def test_windows_that_touch_a_box_are_found_in_an_image_of_any_size() -> None:
    grid = WindowGrid.overlapping((2**61,) * 3, (4, 8, 8), overlap=0.5)

    z, y, x = grid.touching(Box((0, 2**60, 2**61 - 1), (1, 2**60 + 1, 2**61)))

    assert z == (0,)
    assert y == (2**60 - 4, 2**60)
    assert x == (2**61 - 8,)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_hull_holds_the_box_and_all_windows_that_touch_it(data: st.DataObject) -> None:
    grid = data.draw(grids())
    box = data.draw(boxes_within(grid.shape))

    hull = grid.hull(box)

    assert hull.contains(box)
    assert hull.start == tuple(starts[0] for starts in grid.touching(box))


def test_the_blend_weight_is_that_of_the_method() -> None:
    weight = blend_weight((3, 5, 9))

    assert weight[1, 2, 4] == pytest.approx(1 + 1e-4)
    assert weight[1, 2, 6] == pytest.approx(1e-4 + np.exp(-(0.5**2) / 0.08))
    assert weight[0, 0, 0] == pytest.approx(1e-4)


def test_a_window_of_one_section_is_weighted_as_a_picture() -> None:
    assert blend_weight((1, 5, 5))[0, 2, 2] == pytest.approx(1 + 1e-4)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_an_overlap_outside_its_range_is_refused(overlap: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        WindowGrid.overlapping((8, 8, 8), (4, 4, 4), overlap=overlap)

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"
    assert caught.value.metadata["field"] == "overlap"


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [((8, 8, 8), (4, 4, 4), (5, 4, 4)), ((8, 8, 8), (0, 4, 4), (1, 1, 1)), ((0, 8, 8),) * 3],
)
def test_a_grid_that_leaves_gaps_is_refused(shape: Triple, window: Triple, stride: Triple) -> None:
    with pytest.raises(InvalidInput) as caught:
        WindowGrid(shape, window, stride)

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"
