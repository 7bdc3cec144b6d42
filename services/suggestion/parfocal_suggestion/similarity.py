"""Likeness of directions: cosines between many points and a few, in blocks of a matrix product."""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import squared_norms
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.shortlist import Shortlists, best

_ROWS = 8192
_SMALLEST_NORM = np.float32(1e-30)


def inverse_norms(points: Floats) -> Floats:
    """One over the length (N,) of each point; of a point without length it is large and finite."""
    lengths = np.maximum(np.sqrt(squared_norms(points)), _SMALLEST_NORM)
    return np.asarray(1 / lengths, np.float32)


def unit(points: Floats) -> Floats:
    """The points (N, d) scaled to length 1; a point without length stays at the origin."""
    scaled: Floats = points * inverse_norms(points)[:, None]
    return scaled


def greatest_cosine(points: Floats, inverse: Floats, others: Floats) -> Floats:
    """Cosine (N,) of each point with the most alike of `others`.

    Args:
        points: (N, d) float32.
        inverse: (N,) as of `inverse_norms`.
        others: (M, d) float32, M > 0.
    """
    columns = np.ascontiguousarray(unit(others).T)
    greatest = np.empty(len(points), np.float32)

    def work(part: slice) -> None:
        greatest[part] = (points[part] @ columns).max(axis=1) * inverse[part]

    for _ in in_blocks(work, len(points), _ROWS):
        pass
    return greatest


def most_similar(
    points: Floats, queries: Floats, k: int, *, inverse: Floats | None = None
) -> tuple[Rows, Floats]:
    """For each query the k points of the greatest cosine; equals go by row.

    All points are looked at, none is approximated; the cosine is the sum of products of the two
    directions, whatever the blocks.

    Args:
        points: (N, d) float32, N > 0.
        queries: (Q, d) float32.
        k: Points wanted of each; N where it is more.
        inverse: (N,) as of `inverse_norms`, where it is known already.

    Returns:
        Rows (Q, k), most alike first, and cosines (Q, k).
    """
    k = min(k, len(points))
    inverse = inverse_norms(points) if inverse is None else inverse
    asked = unit(queries)
    columns = np.ascontiguousarray(asked.T)
    unsure = np.float32(4 * (points.shape[1] + 4) * np.finfo(np.float32).eps)
    found = Shortlists(k, slack=np.full(len(queries), unsure))

    def work(part: slice) -> tuple[Rows, Rows, Floats]:
        gaps = points[part] @ columns
        gaps *= -inverse[part, None]
        gaps += 1
        limits = found.limits
        if np.isinf(limits[0]) and len(gaps) >= k:
            limits = np.partition(gaps, k - 1, axis=0)[k - 1] + 2 * unsure
        close = np.flatnonzero(gaps <= limits)
        rows, owners = np.divmod(close, len(queries))
        return owners, rows + part.start, gaps.reshape(-1)[close]

    for owners, rows, gaps in in_blocks(work, len(points), _ROWS):
        found.offer(owners, rows, gaps)
    owners, rows = found.entries()
    directions = points[rows] * inverse[rows, None]
    cosines = np.einsum("nd,nd->n", directions, asked[owners])
    ids, negative = best(owners, rows, -cosines, k)
    return ids, -negative
