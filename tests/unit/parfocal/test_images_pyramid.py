from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parfocal._images.pyramid import halved_max, halved_mean, level_shapes
from parfocal._images.writing import slabs

SMALL = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@given(arrays(np.uint8, SMALL))
def test_a_halved_mean_is_the_rounded_mean_of_the_voxels_that_exist(block: np.ndarray) -> None:
    halved = halved_mean(block)

    for z, y, x in np.ndindex(halved.shape):
        window = block[z, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert halved[z, y, x] == np.floor(window.mean() + 0.5)


@given(arrays(np.uint16, SMALL))
def test_a_halved_max_is_the_greatest_of_the_voxels_that_exist(block: np.ndarray) -> None:
    halved = halved_max(block)

    for z, y, x in np.ndindex(halved.shape):
        assert halved[z, y, x] == block[z, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].max()


def test_an_object_of_one_voxel_is_seen_at_every_level() -> None:
    block = np.zeros((1, 33, 17), np.uint32)
    block[0, 32, 5] = 70000

    assert halved_max(halved_max(halved_max(block))).max() == 70000


@given(st.tuples(st.integers(1, 9), st.integers(1, 5000), st.integers(1, 5000)))
def test_levels_halve_until_the_longer_side_fits(shape: tuple[int, int, int]) -> None:
    shapes = level_shapes(shape)

    assert shapes[0] == shape
    assert max(shapes[-1][1:]) <= 256
    assert all(max(finer[1:]) > 256 for finer in shapes[:-1])
    for (z, y, x), coarser in pairwise(shapes):
        assert coarser == (z, (y + 1) // 2, (x + 1) // 2)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 600_000), st.integers(1, 60_000)),
    st.sampled_from([1, 2, 4, 8]),
)
def test_slabs_tile_the_image_and_begin_on_a_row_of_every_level(
    shape: tuple[int, int, int], itemsize: int
) -> None:
    parts = list(slabs(shape, itemsize))

    assert sum((z.stop - z.start) * (y.stop - y.start) for z, y in parts) == shape[0] * shape[1]
    coarsest = 2 ** (len(level_shapes(shape)) - 1)
    assert all(y.start % coarsest == 0 and z.start % 16 == 0 for z, y in parts)
