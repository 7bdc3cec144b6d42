"""Overlapping predictions, added up and averaged while a sweep goes through the sections."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from parfocal_inference.windows import blend_weight
from parfocal_runtime.box import Box, Triple

_ROWS = 32
"""Rows averaged at a time: few enough to stay in a processor's cache."""


class Blend:
    """The weighted average of window predictions over a box.

    Windows come in ascending order of their first section; sections that no later window reaches
    are taken out and forgotten, so that memory holds one window's depth of sums and not the box.
    Sums are float64: there the product of a weight and a probability is exact, and a voxel that
    one window covers keeps its probability to the last bit.

    All arrays are made once and worked on in place: fresh ones would cost more, in page faults,
    than the sums.
    """

    def __init__(self, box: Box, window: Triple) -> None:
        self._box = box
        self._first = box.start[0]
        self._weight = blend_weight(window)
        depth, plane = min(window[0], box.shape[0]), box.shape[1:]
        # One array for each section, the lowest first; a finished one becomes the highest.
        self._sums = deque(np.zeros(plane) for _ in range(depth))
        self._weights = deque(np.zeros(plane) for _ in range(depth))
        self._product = np.empty(window[1:])
        self._rows = np.empty((min(_ROWS, plane[0]), plane[1]))

    @staticmethod
    def memory_bytes(box: Box, window: Triple) -> int:
        """Return the size of the arrays of a blend over `box`."""
        depth = min(window[0], box.shape[0])
        plane = box.shape[1] * box.shape[2]
        rows = min(_ROWS, box.shape[1]) * box.shape[2]
        return 8 * (2 * depth * plane + rows + window[1] * window[2])

    def add(self, start: Triple, probability: npt.NDArray[np.float32] | None) -> None:
        """Add what a window that starts at `start` predicts, (z, y, x) float32; None is zeros."""
        z, y, x = (low + side for low, side in zip(start, self._weight.shape, strict=True))
        window = Box(start, (z, y, x))
        common = window.intersection(self._box)
        if common is None:
            return
        depths, *inside = common.relative_to(start).slices
        sections, *here = common.relative_to((self._first, *self._box.start[1:])).slices
        region, part = tuple(here), tuple(inside)
        product = self._product[part]
        for depth in range(depths.start, depths.stop):
            section = sections.start + depth - depths.start
            weight = self._weight[depth][part]
            weights = self._weights[section][region]
            np.add(weights, weight, out=weights)
            if probability is not None:
                np.multiply(weight, probability[depth][part], out=product, dtype=np.float64)
                sums = self._sums[section][region]
                np.add(sums, product, out=sums)

    def finished(self, stop: int) -> npt.NDArray[np.uint8]:
        """Return `floor(255 p)` of the sections below `stop` and forget them.

        Nothing comes back, as an array of no sections, where all of them are above the box or
        were taken before.
        """
        count = max(stop - self._first, 0)
        found = np.empty((count, *self._box.shape[1:]), np.uint8)
        for section in found:
            self._average(section)
            for planes in (self._sums, self._weights):
                planes[0][:] = 0
                planes.rotate(-1)
        self._first += count
        return found

    def _average(self, section: npt.NDArray[np.uint8]) -> None:
        """Write `floor(255 p)` of the lowest section into `section` (y, x)."""
        for low in range(0, len(section), _ROWS):
            part = slice(low, low + _ROWS)
            rows = self._rows[: len(section[part])]
            np.divide(self._sums[0][part], self._weights[0][part], out=rows)
            np.clip(rows, 0, 1, out=rows)
            np.multiply(rows, 255, out=rows)
            np.copyto(section[part], rows, casting="unsafe")
