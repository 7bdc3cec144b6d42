from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_loop.actions import blocks, candidate_set_name
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput

sides = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))


@st.composite
def regions(draw: st.DrawFn) -> tuple[Box, Box]:
    shape = draw(sides)
    start = [draw(st.integers(0, side - 1)) for side in shape]
    stop = [draw(st.integers(low + 1, side)) for low, side in zip(start, shape, strict=True)]
    return Box.whole(shape), Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@given(regions(), sides)
def test_blocks_cover_a_region_once_and_keep_to_the_grid(
    boxes: tuple[Box, Box], shape: tuple[int, int, int]
) -> None:
    whole, region = boxes
    count = np.zeros(whole.shape, int)

    for block in blocks(whole, region, shape):
        count[block.slices] += 1
        cells = [
            (a // s, (b - 1) // s) for a, b, s in zip(block.start, block.stop, shape, strict=True)
        ]
        assert all(first == last for first, last in cells)

    assert (count[region.slices] == 1).all()
    assert count.sum() == region.voxels


def test_a_region_outside_the_image_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        blocks(Box.whole((4, 4, 4)), Box((0, 0, 0), (4, 4, 5)), (2, 2, 2))

    assert caught.value.reason == "ERROR_REASON_BOX_OUTSIDE_IMAGE"
    assert caught.value.metadata["field"] == "region"


def test_a_candidate_set_is_named_by_its_folder() -> None:
    assert candidate_set_name("p", "projects/p/candidates/mito-1-abc") == "mito-1-abc"


@pytest.mark.parametrize(
    "folder",
    ["projects/q/candidates/x", "projects/p/candidates/a/b", "x", "projects/p/x/candidates"],
)
def test_a_candidate_set_elsewhere_is_refused(folder: str) -> None:
    with pytest.raises(InvalidInput):
        candidate_set_name("p", folder)
