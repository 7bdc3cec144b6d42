from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from parfocal_labels.formats.runs import Mask, Runs, masks, runs_of

Section = npt.NDArray[np.uint32]


@st.composite
def sections(draw: st.DrawFn) -> Section:
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return draw(arrays(np.uint32, shape, elements=st.integers(0, 3)))


def in_tiles(section: Section, side: int, wanted: list[int]) -> list[tuple[int, Mask]]:
    height, width = section.shape
    lookup = np.isin(np.arange(max(wanted, default=0) + 1), wanted)
    runs: list[Runs] = [
        runs_of(section[y : y + side, x : x + side], lookup, origin=(y, x), height=height)
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    return list(masks(runs, height=height, width=width))


@given(sections(), st.integers(1, 4))
def test_every_mask_comes_back_as_it_was(section: Section, side: int) -> None:
    found = dict(in_tiles(section, side, [1, 2, 3]))

    assert sorted(found) == [value for value in (1, 2, 3) if (section == value).any()]
    for value, mask in found.items():
        flat = np.repeat(np.arange(len(mask.counts)) % 2, mask.counts)
        assert (flat.reshape(section.shape, order="F") == (section == value)).all()


@given(sections(), st.integers(1, 4))
def test_box_area_and_counts_are_those_of_pycocotools(section: Section, side: int) -> None:
    height, width = section.shape
    for value, mask in in_tiles(section, side, [1, 3]):
        expected = coco_mask.encode(np.asfortranarray(section == value, np.uint8))

        found = coco_mask.frPyObjects(
            {"size": [height, width], "counts": mask.counts}, height, width
        )

        assert found == expected
        assert list(mask.box) == coco_mask.toBbox(expected).tolist()
        assert mask.area == coco_mask.area(expected)


@given(sections())
def test_only_what_is_wanted_is_counted(section: Section) -> None:
    assert {value for value, _ in in_tiles(section, 4, [2])} <= {2}
    assert in_tiles(section, 4, []) == []
