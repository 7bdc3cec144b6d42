"""Which crops a person would label first: small ones with much of what is looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]

_RICHNESS = 0.85
"""A person picks a rich place by eye, not the richest there is."""
_STEP = 16


@dataclass(frozen=True, order=True)
class CropBox:
    """A half-open box of voxels, zyx."""

    start: Triple
    stop: Triple

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Numpy index of the box."""
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def column_of(self, depth: int) -> CropBox:
        """Return the same rows and columns through all `depth` sections."""
        return CropBox((0, *self.start[1:]), (depth, *self.stop[1:]))


def choose_crops(
    truth: NDArray[np.bool_], *, count: int, shape: Triple, columns: int
) -> list[CropBox]:
    """Choose crops rich in foreground, spread over the sections and the rows.

    Crops of one corner teach nothing about what lies elsewhere, so each comes from a band of
    rows of its own, as far as the bands are as high as a crop.

    Args:
        truth: Ground truth, (z, y, x).
        count: Number of crops; fewer where a band holds no foreground in its sections.
        shape: Sections, rows and columns of a crop; cut down to the image.
        columns: Only columns below this may be used.

    Raises:
        ValueError: If there is no foreground to choose by.
    """
    depth, height, width = truth.shape
    shape = (min(shape[0], depth), min(shape[1], height), min(shape[2], columns, width))
    sections = np.linspace(0, depth - shape[0], count).round().astype(int)
    bands = np.linspace(0, height, count + 1).round().astype(int)
    chosen: list[CropBox] = []
    for z, top, bottom in zip(sections, bands[:-1], bands[1:], strict=True):
        first = min(int(top), height - shape[1])
        rows = range(first, max(int(bottom) - shape[1], first) + 1, _STEP)
        rich = _ranked(truth, _boxes(int(z), rows, shape, min(columns, width)))
        if rich:
            chosen.append(rich[min(int(_RICHNESS * len(rich)), len(rich) - 1)])
    if not chosen:
        raise ValueError("the training part holds no foreground to label crops around")
    return chosen


def _ranked(truth: NDArray[np.bool_], boxes: list[CropBox]) -> list[CropBox]:
    """Return the boxes that hold foreground, poorest first."""
    counted = sorted((int(truth[box.slices].sum()), box.start, box) for box in boxes)
    return [box for content, _, box in counted if content]


def _boxes(z: int, rows: range, shape: Triple, width: int) -> list[CropBox]:
    return [
        CropBox((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))
        for y in rows
        for x in range(0, width - shape[2] + 1, _STEP)
    ]
