"""Euclidean distances between two sets of points in float32 blocks, never all at once."""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.pool import Floats, Rows

_ENTRIES = 1 << 22


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
