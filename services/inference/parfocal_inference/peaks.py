"""Places on a heat map that stand out from what is around them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage


def peaks(
    confidence: npt.NDArray[np.float32], *, threshold: float, reach: tuple[float, float]
) -> npt.NDArray[np.int64]:
    """Return the rows and columns (n, 2) of the peaks of a heat map, in reading order.

    A peak is at least `threshold`, and no place nearer than one `reach` is higher; of peaks
    as high as each other that near, the first in reading order counts. So whether a place is a
    peak depends on what lies within two reaches of it and on nothing else.

    Args:
        confidence: (rows, columns).
        threshold: Least confidence of a peak.
        reach: Semi-axes (rows, columns) of the ellipse in which a peak is alone; its border is
            outside.
    """
    near = _ellipse(reach)
    highest = ndimage.maximum_filter(confidence, footprint=near, mode="constant", cval=-np.inf)
    is_high = (confidence >= threshold) & (confidence == highest)
    nobody = confidence.size
    places = np.arange(nobody).reshape(confidence.shape)
    rank = np.where(is_high, places, nobody)
    first = ndimage.minimum_filter(rank, footprint=near, mode="constant", cval=nobody)
    return np.argwhere(is_high & (rank == first))


def margin(reach: tuple[float, float]) -> tuple[int, int]:
    """Return how many rows and columns around a place decide whether it is a peak."""
    rows, columns = (2 * (math.ceil(side) - 1) for side in reach)
    return (rows, columns)


def _ellipse(reach: tuple[float, float]) -> npt.NDArray[np.bool_]:
    rows, columns = (np.arange(1 - math.ceil(side), math.ceil(side)) / side for side in reach)
    inside: npt.NDArray[np.bool_] = rows[:, None] ** 2 + columns[None, :] ** 2 < 1
    return inside
