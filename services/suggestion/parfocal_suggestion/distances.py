"""Euclidean distances between two sets of points in float32 blocks, never all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.pool import Floats, Mask, Rows

_ENTRIES = 1 << 22
_BLOCK_ENTRIES = 1 << 20
_CENTRES = 256
_PAIRS = 1 << 14
_ORIGIN_ROWS = 4096
_ROUNDED_UP = np.float32(1 + 1e-4)
"""More than a mean of distances, and one over it, can be off."""


def squared_norms(points: Floats) -> Floats:
    """Squared lengths (N,) of the rows."""
    norms: Floats = np.einsum("nd,nd->n", points, points)
    return norms


def nearest(points: Floats, others: Floats) -> tuple[Rows, Floats]:
    """For each point the row of the nearest of `others` (the first of equals) and its distance.

    Args:
        points: (N, d).
        others: (M, d), M > 0.
    """
    # Distances from a common origin cancel badly in float32 when the points lie far from it.
    origin = others.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = others - origin
    norms = squared_norms(centred)
    rows = np.empty(len(points), np.intp)
    distances = np.empty(len(points), np.float32)
    step = max(1, _ENTRIES // len(others))
    for start in range(0, len(points), step):
        block = points[start : start + step] - origin
        rows[start : start + step] = np.argmin(norms - 2 * (block @ centred.T), axis=1)
        difference = block - centred[rows[start : start + step]]
        distances[start : start + step] = np.sqrt(squared_norms(difference))
    return rows, distances


def middle(points: Floats) -> Floats:
    """A point (d,) near to the mean of `points`, from a few thousand of them."""
    some = points[:: max(1, len(points) // _ORIGIN_ROWS)]
    mean: Floats = some.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def lower(squared: Floats, points: Floats, centres: Floats, *, origin: Floats) -> None:
    """Lower `squared` (N,) in place to the squared distance to the nearest of `centres`.

    Each distance that is kept is the sum of the squares of the differences, whatever the blocks:
    centres may be added one by one or all at once, with the same result bit for bit. A matrix
    product finds the few pairs for which that sum is worth computing.

    Args:
        squared: (N,) float32, not negative where it shall be lowered.
        points: (N, d) float32.
        centres: (M, d) float32.
        origin: (d,) any point; near to the points, it makes the product sharper.
    """
    if not len(centres):
        return
    moved = centres - origin

    def work(part: slice) -> None:
        block = points[part] - origin
        norms = squared_norms(block)
        for first in range(0, len(centres), _CENTRES):
            some = slice(first, first + _CENTRES)
            _lower_block(squared[part], points[part], block, norms, centres[some], moved[some])

    step = max(1, _BLOCK_ENTRIES // min(_CENTRES, len(centres)))
    for _ in in_blocks(work, len(points), step):
        pass


def _lower_block(
    squared: Floats,
    points: Floats,
    block: Floats,
    norms: Floats,
    centres: Floats,
    moved: Floats,
) -> None:
    centre_norms = squared_norms(moved)
    # All that rounding can do to the product and to the sum, generously.
    unsure = np.float32(4 * (points.shape[1] + 4) * np.finfo(np.float32).eps)
    slack = unsure * (norms + centre_norms.max())
    gaps = block @ (moved.T * np.float32(-2))
    gaps += centre_norms
    reach = np.minimum(gaps.min(axis=1) + slack, squared - norms) + slack
    # Nothing lies nearer than 0, and coinciding points would all be pairs.
    reach[squared <= 0] = -np.inf
    rows, columns = np.divmod(np.flatnonzero(gaps <= reach[:, None]), len(centres))
    for start in range(0, len(rows), _PAIRS):
        row, column = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        np.minimum.at(squared, row, squared_norms(points[row] - centres[column]))


def mean_distance_to_nearest(points: Floats, count: int) -> Floats:
    """Mean distance (N,) of each point to the `count` nearest of the others.

    Args:
        points: (N, d), N > `count`.
        count: Neighbours, at least 1.
    """
    centred = points - middle(points)
    parts = [_mean_of_nearest(centred, part, gaps, count) for part, gaps in _gaps(centred, count)]
    return np.concatenate(parts)


def smallest_mean_distances(
    points: Floats, count: int, among: Mask, *, floor: float
) -> tuple[Rows, Floats]:
    """Points whose mean distance to their nearest may be the smallest, and those distances.

    Only what rounding leaves in doubt is computed, which is a few points of thousands.

    Args:
        points: (N, d), N > `count`.
        count: Neighbours, at least 1.
        among: (N,) True where a point counts; the others are neighbours only.
        floor: Distances below it are equals.

    Returns:
        Rows (n,), ascending, the smallest and what equals it included, and their mean distances
        (n,) as `mean_distance_to_nearest` gives them.
    """
    centred = points - middle(points)
    norms = squared_norms(centred)
    slack = np.float32(4 * (points.shape[1] + 4) * np.finfo(np.float32).eps) * (norms + norms.max())
    rows, means, least = [np.empty(0, np.intp)], [np.empty(0, np.float32)], np.float32(np.inf)
    for part, gaps in _gaps(centred, count):
        own = np.arange(part.start, part.stop)[among[part]]
        if not len(own):
            continue
        some = gaps[own - part.start]
        squared = np.partition(some, count - 1, axis=1)[:, :count] + norms[own, None]
        unsure = slack[own, None]
        above = np.sqrt(np.maximum(squared, 0) + unsure).mean(axis=1) * _ROUNDED_UP
        below = np.sqrt(np.maximum(squared - unsure, 0)).mean(axis=1)
        least = min(least, above.min())
        close = below <= max(least, floor * _ROUNDED_UP)
        rows.append(own[close])
        means.append(_mean_of_nearest(centred, own[close], some[close], count))
    return np.concatenate(rows), np.concatenate(means)


def _gaps(centred: Floats, count: int) -> Iterator[tuple[slice, Floats]]:
    """Blocks of rows, and their squared distances to all but the own norm; infinite to itself."""
    norms = squared_norms(centred)
    step = max(1, _ENTRIES // (len(centred) + count * centred.shape[1]))
    for start in range(0, len(centred), step):
        block = centred[start : start + step]
        gaps = block @ centred.T
        gaps *= -2
        gaps += norms
        own = np.arange(len(block))
        gaps[own, start + own] = np.inf
        yield slice(start, start + len(block)), gaps


def _mean_of_nearest(centred: Floats, rows: Rows | slice, gaps: Floats, count: int) -> Floats:
    near = np.argpartition(gaps, count - 1, axis=1)[:, :count]
    # Differences of products find the neighbours; their distances are taken exactly.
    difference = centred[rows][:, None] - centred[near]
    means: Floats = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference)).mean(axis=1)
    return means
