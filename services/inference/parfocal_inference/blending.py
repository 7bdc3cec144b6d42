"""Overlapping predictions, added up and averaged while a sweep goes through the sections."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parfocal_inference.windows import blend_weight
from parfocal_runtime.box import Box, Triple


class Blend:
    """The weighted average of window predictions over a box.

    Windows come in ascending order of their first section; sections that no later window reaches
    are taken out and forgotten, so that memory holds one window's depth of sums and not the box.
    Sums are float64: there the product of a weight and a probability is exact, and a voxel that
    one window covers keeps its probability to the last bit.
    """

    def __init__(self, box: Box, window: Triple) -> None:
        self._box = box
        self._first = box.start[0]
        self._weight = blend_weight(window)
        depth = min(window[0], box.shape[0])
        self._sums = np.zeros((depth, *box.shape[1:]))
        self._weights = np.zeros((depth, *box.shape[1:]))

    def add(self, start: Triple, probability: npt.NDArray[np.float32]) -> None:
        """Add what a window that starts at `start` predicts, (z, y, x) float32."""
        z, y, x = (low + side for low, side in zip(start, probability.shape, strict=True))
        window = Box(start, (z, y, x))
        common = window.intersection(self._box)
        if common is None:
            return
        inside = common.relative_to(start).slices
        here = common.relative_to((self._first, *self._box.start[1:])).slices
        weight = self._weight[inside]
        self._sums[here] += np.multiply(weight, probability[inside], dtype=np.float64)
        self._weights[here] += weight

    def finished(self, stop: int) -> npt.NDArray[np.uint8]:
        """Return `floor(255 p)` of the sections below `stop` and forget them.

        Nothing comes back, as an array of no sections, where all of them are above the box or
        were taken before.
        """
        stop = max(stop, self._first)
        count = stop - self._first
        probability = self._sums[:count] / self._weights[:count]
        np.clip(probability, 0, 1, out=probability)
        probability *= 255
        for sums in (self._sums, self._weights):
            kept = len(sums) - count
            sums[:kept] = sums[count:]
            sums[kept:] = 0
        self._first = stop
        return probability.astype(np.uint8)
