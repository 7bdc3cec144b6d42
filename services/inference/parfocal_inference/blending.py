"""Overlapping predictions, added up and averaged while a sweep goes through the sections."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from parfocal_inference.windows import blend_weight
from parfocal_runtime.box import Box, Triple

_AT_ONCE = 1 << 16
"""Voxels worked on at a time: few enough to stay in a processor's cache, and so many that threads
which blend side by side hardly meet between two calls of numpy."""


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
        shape = (min(window[0], box.shape[0]), *box.shape[1:])
        # Rings along z: a section that is finished becomes the highest one.
        self._sums, self._weights = np.zeros(shape), np.zeros(shape)
        self._lowest = 0
        self._product = np.empty((_sections_at_once(window), *window[1:]))
        self._rows = np.empty((_rows_at_once(box), box.shape[2]))

    @staticmethod
    def memory_bytes(box: Box, window: Triple) -> int:
        """Return the size of the arrays of a blend over `box`."""
        sums = min(window[0], box.shape[0]) * box.shape[1] * box.shape[2]
        rows = _rows_at_once(box) * box.shape[2]
        return 8 * (2 * sums + rows + _sections_at_once(window) * window[1] * window[2])

    def add(self, start: Triple, probability: npt.NDArray[np.float32] | None) -> None:
        """Add what a window that starts at `start` predicts, (z, y, x) float32; None is zeros."""
        z, y, x = (low + side for low, side in zip(start, self._weight.shape, strict=True))
        window = Box(start, (z, y, x))
        common = window.intersection(self._box)
        if common is None:
            return
        depths, *inside = common.relative_to(start).slices
        sections, *here = common.relative_to((self._first, *self._box.start[1:])).slices
        for place, above in self._slabs(sections.start, sections.stop):
            below = slice(depths.start + above.start, depths.start + above.stop)
            weight = self._weight[(below, *inside)]
            weights = self._weights[(place, *here)]
            np.add(weights, weight, out=weights)
            if probability is not None:
                product = self._product[(slice(weight.shape[0]), *inside)]
                np.multiply(weight, probability[(below, *inside)], out=product, dtype=np.float64)
                sums = self._sums[(place, *here)]
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
            self._sums[self._lowest] = 0
            self._weights[self._lowest] = 0
            self._lowest = (self._lowest + 1) % len(self._sums)
        self._first += count
        return found

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Yield places in the rings of the sections from `start` to `stop`, a few at a time.

        Both count from the lowest section. With each comes where it lies from `start` on.
        """
        depth, section = len(self._sums), start
        while section < stop:
            place = (self._lowest + section) % depth
            count = min(len(self._product), stop - section, depth - place)
            yield slice(place, place + count), slice(section - start, section - start + count)
            section += count

    def _average(self, section: npt.NDArray[np.uint8]) -> None:
        """Write `floor(255 p)` of the lowest section into `section` (y, x)."""
        sums, weights = self._sums[self._lowest], self._weights[self._lowest]
        for low in range(0, len(section), len(self._rows)):
            part = slice(low, low + len(self._rows))
            rows = self._rows[: len(section[part])]
            np.divide(sums[part], weights[part], out=rows)
            np.clip(rows, 0, 1, out=rows)
            np.multiply(rows, 255, out=section[part], casting="unsafe")


def _sections_at_once(window: Triple) -> int:
    return min(window[0], max(1, _AT_ONCE // (window[1] * window[2])))


def _rows_at_once(box: Box) -> int:
    return min(box.shape[1], max(1, _AT_ONCE // box.shape[2]))
