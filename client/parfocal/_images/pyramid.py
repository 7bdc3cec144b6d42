"""Coarser levels of an image: rows and columns halved, sections kept."""

from __future__ import annotations

import numpy as np

from parfocal._images.source import Array, Triple

# A level whose longer side in plane is at most this is the coarsest.
_COARSEST = 256


def level_shapes(shape: Triple) -> tuple[Triple, ...]:
    """Return the shape (z, y, x) of every level, finest first; odd sides are rounded up."""
    shapes = [shape]
    while max(shapes[-1][1:]) > _COARSEST:
        z, y, x = shapes[-1]
        shapes.append((z, -(-y // 2), -(-x // 2)))
    return tuple(shapes)


def halved_mean(block: Array) -> Array:
    """Return the mean of each 2 x 2 window in plane, rounded half up.

    Args:
        block: uint8 (z, y, x). At an odd end a window has one row or column only.
    """
    even = _evened(block).astype(np.uint16)
    total = even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    return ((total + 2) >> 2).astype(block.dtype)


def halved_max(block: Array) -> Array:
    """Return the greatest number of each 2 x 2 window in plane.

    For labels: an object of one voxel stays to be seen at every level; where two objects share
    a window, the one with the greater number wins.
    """
    even = _evened(block)
    rows = np.maximum(even[:, ::2], even[:, 1::2])
    return np.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def _evened(block: Array) -> Array:
    _, y, x = block.shape
    # A repeated edge leaves means and maxima of the voxels that exist.
    return np.pad(block, ((0, 0), (0, y % 2), (0, x % 2)), mode="edge") if y % 2 or x % 2 else block
