"""Euclidean distances between two sets of points in float32 blocks, never all at once."""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.pool import Floats, Rows

_ENTRIES = 1 << 22
_BLOCK_ENTRIES = 1 << 20
_CENTRES = 256
_PAIRS = 1 << 14
_ORIGIN_ROWS = 4096


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
        # BLAS may look past the end of few columns, and complain of what lies there: numpy#24067.
        with np.errstate(invalid="ignore"):
            products = block @ centred.T
        rows[start : start + step] = np.argmin(norms - 2 * products, axis=1)
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
    slack = rounding(points.shape[1]) * (norms + centre_norms.max())
    gaps = block @ (moved.T * np.float32(-2))
    gaps += centre_norms
    reach = np.minimum(gaps.min(axis=1) + slack, squared - norms) + slack
    # Nothing lies nearer than 0, and coinciding points would all be pairs.
    reach[squared <= 0] = -np.inf
    rows, columns = np.divmod(np.flatnonzero(gaps <= reach[:, None]), len(centres))
    for start in range(0, len(rows), _PAIRS):
        row, column = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        np.minimum.at(squared, row, squared_norms(points[row] - centres[column]))


def lifted(points: Floats) -> Floats:
    """The points (N, d) with two columns more: the square of their length, and 1."""
    more = np.empty((len(points), points.shape[1] + 2), np.float32)
    more[:, :-2] = points
    more[:, -2] = squared_norms(points)
    more[:, -1] = 1
    return more


def lifted_gaps(points: Floats, others: Floats) -> Floats:
    """Squared distances (N, M) of lifted points, all of the sum in one matrix product."""
    turned: Floats = points * np.float32(-2)
    turned[:, -2] = 1
    turned[:, -1] = points[:, -2]
    gaps: Floats = turned @ others.T
    return gaps


def rounding(columns: int) -> np.float32:
    """What a squared distance from a product may be off, over the squares of the lengths.

    Generously: a few times the sum of what rounding can do to each of its terms.
    """
    return np.float32(4 * (columns + 4) * np.finfo(np.float32).eps)
