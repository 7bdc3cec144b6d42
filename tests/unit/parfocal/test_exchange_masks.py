from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from parfocal._exchange.masks import Region, region_of, unpacked_counts

Mask = npt.NDArray[np.bool_]

masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def painted(region: Region | None, shape: tuple[int, ...]) -> Mask:
    whole = np.zeros(shape, bool)
    if region is not None:
        h, w = region.mask.shape
        whole[region.top : region.top + h, region.left : region.left + w] = region.mask
    return whole


def read(annotation: dict[str, Any], shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return painted(region_of(annotation, height=height, width=width), shape)


def plain_counts(mask: Mask) -> list[int]:
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False)).tolist()
    counts: list[int] = np.diff([0, *edges, flat.size]).tolist()
    return counts


@given(masks)
def test_packed_run_lengths_are_read_as_pycocotools_writes_them(mask: Mask) -> None:
    packed = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()

    assert unpacked_counts(packed) == plain_counts(mask)
    size = list(mask.shape)
    assert (read({"segmentation": {"size": size, "counts": packed}}, mask.shape) == mask).all()


@given(masks)
def test_plain_run_lengths_are_the_mask(mask: Mask) -> None:
    segmentation = {"size": list(mask.shape), "counts": plain_counts(mask)}

    assert (read({"segmentation": segmentation}, mask.shape) == mask).all()


def test_large_run_lengths_are_unpacked() -> None:
    mask = np.zeros((300, 400), bool)
    mask[3:290, 200:260] = True
    packed = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()

    assert unpacked_counts(packed) == plain_counts(mask)


@given(st.tuples(*[st.integers(0, 11)] * 2), st.tuples(*[st.integers(1, 12)] * 2))
def test_the_outline_of_a_box_is_the_box(low: tuple[int, int], size: tuple[int, int]) -> None:
    (y0, x0), (h, w) = low, size
    y1, x1 = y0 + h, x0 + w
    expected = np.zeros((12, 12), bool)
    expected[y0:y1, x0:x1] = True

    outline = [x0, y0, x1, y0, x1, y1, x0, y1]

    assert (read({"segmentation": [outline]}, (12, 12)) == expected).all()
    assert (read({"bbox": [x0, y0, w, h]}, (12, 12)) == expected).all()


def test_a_polygon_takes_the_pixels_whose_centres_are_in_it() -> None:
    triangle = [0, 0, 8, 0, 0, 8]

    mask = read({"segmentation": [triangle]}, (8, 8))

    y, x = np.mgrid[:8, :8]
    assert (mask == (x + y + 1 < 8)).all()


def test_several_polygons_are_one_mask() -> None:
    two = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]]

    assert read({"segmentation": two}, (8, 8)).sum() == 8


def test_what_sticks_out_of_the_picture_is_cut() -> None:
    assert read({"bbox": [-2, -2, 4, 4]}, (8, 8)).sum() == 4
    assert region_of({"bbox": [20, 20, 4, 4]}, height=8, width=8) is None
    assert read({"segmentation": [[-4, -4, 2, -4, 2, 2, -4, 2]]}, (8, 8)).sum() == 4


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({}, "neither"),
        ({"bbox": [1, 2, 3]}, "neither"),
        ({"bbox": [1, 2, -3, 4]}, "no box"),
        ({"bbox": [1, 2, float("nan"), 4]}, "no box"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three points"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("inf")]]}, "not a finite number"),
        ({"segmentation": {"size": [9, 9], "counts": [1]}}, "of size"),
        ({"segmentation": {"size": [8, 8], "counts": [65]}}, "do not fit"),
        ({"segmentation": {"size": [8, 8], "counts": [3, -1]}}, "do not fit"),
        ({"segmentation": {"size": [8, 8], "counts": "\x10"}}, "no character"),
        ({"segmentation": {"size": [8, 8], "counts": "o"}}, "in the middle"),
    ],
)
def test_what_is_no_annotation_is_refused(annotation: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        region_of(annotation, height=8, width=8)
