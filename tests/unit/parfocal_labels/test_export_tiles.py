from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parfocal_labels.formats.coarsening import coarsening
from parfocal_labels.formats.spatial_index import spatial_index
from parfocal_labels.formats.tiles import touched_blocks
from parfocal_runtime.box import Box, Triple

Array = npt.NDArray[np.int64]

sides = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12))


@st.composite
def boxes_in(draw: st.DrawFn, shape: Triple) -> Array:
    found = []
    for _ in range(draw(st.integers(0, 6))):
        low = [draw(st.integers(0, side - 1)) for side in shape]
        high = [draw(st.integers(a + 1, side)) for a, side in zip(low, shape, strict=True)]
        found.append([*low, *high])
    return np.array(found, np.int64).reshape(-1, 6)


def painted(boxes: Array, shape: Triple) -> npt.NDArray[np.uint32]:
    array = np.zeros(shape, np.uint32)
    for number, (z0, y0, x0, z1, y1, x1) in enumerate(boxes.tolist(), 1):
        array[z0:z1, y0:y1, x0:x1] = number
    return array


@given(st.data(), sides, sides)
def test_blocks_are_those_that_a_box_touches(
    data: st.DataObject, shape: Triple, block: Triple
) -> None:
    boxes = data.draw(boxes_in(shape))
    inside = painted(boxes, shape) > 0

    found = list(touched_blocks(boxes, shape, block))

    every = list(Box.whole(shape).blocks(block))
    assert found == [each for each in every if inside[each.slices].any()]


@given(sides, sides)
def test_every_coarse_voxel_has_a_window(finer: Triple, smaller: Triple) -> None:
    coarse = tuple(min(pair) for pair in zip(finer, smaller, strict=True))
    step = coarsening(finer, coarse)  # type: ignore[arg-type]

    for edges, size in zip(step.edges, finer, strict=True):
        assert (np.diff(edges) > 0).all()
        assert edges[0] == 0
        assert edges[-1] <= size


@given(st.data(), sides, st.tuples(*[st.integers(1, 3)] * 3))
def test_a_level_made_in_blocks_is_the_maximum_of_its_windows(
    data: st.DataObject, shape: Triple, factors: Triple
) -> None:
    finer = data.draw(arrays(np.uint32, shape, elements=st.integers(0, 9)))
    z, y, x = (-(-side // factor) for side, factor in zip(shape, factors, strict=True))
    step = coarsening(shape, (z, y, x))
    whole = np.zeros((z, y, x), np.uint32)
    for box in Box.whole((z, y, x)).blocks((2, 3, 4)):
        whole[box.slices] = step.apply(finer[step.source(box).slices], box)

    for index in np.ndindex(z, y, x):
        window = tuple(
            slice(edges[place], edges[place + 1])
            for edges, place in zip(step.edges, index, strict=True)
        )
        assert whole[index] == finer[window].max()


@given(st.data(), sides)
def test_coarse_boxes_hold_all_that_is_left_of_the_finer_ones(
    data: st.DataObject, shape: Triple
) -> None:
    boxes = data.draw(boxes_in(shape))
    z, y, x = shape
    coarse = (z, -(-y // 2), -(-x // 2))
    step = coarsening(shape, coarse)
    whole = Box.whole(coarse)

    level = step.apply(painted(boxes, shape)[step.source(whole).slices], whole)

    outside = painted(step.boxes(boxes), coarse) == 0
    assert not level[outside].any()


@given(
    arrays(np.float64, st.tuples(st.integers(0, 60), st.just(3)), elements=st.integers(0, 90)),
    st.integers(1, 7),
)
def test_each_box_is_in_one_level_and_no_cell_has_too_many(
    lows: npt.NDArray[np.float64], limit: int
) -> None:
    corners = np.stack([lows, lows + 10], axis=1)
    extent = np.array([100.0, 100.0, 100.0])

    levels = spatial_index(corners, extent, voxel=np.array([1.0, 1.0, 5.0]), limit=limit)

    found = [{int(row) for members in level.cells.values() for row in members} for level in levels]
    assert sorted(row for rows in found for row in rows) == list(range(len(lows)))
    assert all(len(cell) <= limit for level in levels for cell in level.cells.values())


@given(arrays(np.float64, (30, 3), elements=st.integers(0, 90)))
def test_a_box_is_in_every_cell_that_it_touches(lows: npt.NDArray[np.float64]) -> None:
    corners = np.stack([lows, lows + 10], axis=1)
    extent = np.array([100.0, 100.0, 100.0])

    for level in spatial_index(corners, extent, voxel=np.ones(3), limit=3):
        assert (np.array(level.grid) * level.chunk == extent).all()
        cells: dict[int, set[tuple[int, ...]]] = {
            row: set() for rows in level.cells.values() for row in rows.tolist()
        }
        for cell, rows in level.cells.items():
            for row in rows.tolist():
                cells[row].add(cell)
        for row, found in cells.items():
            low = np.floor(corners[row, 0] / level.chunk).astype(int).tolist()
            high = np.ceil(corners[row, 1] / level.chunk).astype(int).tolist()
            assert found == set(product(*map(range, low, high)))
