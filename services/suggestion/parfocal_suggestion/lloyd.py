"""Lloyd's iteration and its k-means++ starts, in float32 matrix products block by block.

D. Arthur, S. Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007 (with a few
candidates for each centre, as proposed there); S. Lloyd, Least Squares Quantization in PCM, 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import lifted, lifted_gaps, squared_norms
from parfocal_suggestion.pool import Floats, Rows

_ROWS = 4096
Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True)
class Assignment:
    """Points given to their nearest centres.

    Attributes:
        labels: (N,) int32, the nearest centre, the first of equals.
        gaps: (N,) float32 squared distances to it.
        sums: (k, d) float64 sums of the points of each centre, from the origin.
        counts: (k,) int64.
    """

    labels: NDArray[np.int32]
    gaps: Floats
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def inertia(self) -> float:
        """Sum of the squared distances."""
        return float(self.gaps.sum(dtype=np.float64))


def assign(points: Floats, origin: Floats, centres: Floats) -> Assignment:
    """Give each point to the nearest centre.

    Args:
        points: (N, d) float32.
        origin: (d,) taken off the points before they are compared.
        centres: (k, d) float32, from the origin.
    """
    labels = np.empty(len(points), np.int32)
    gaps = np.empty(len(points), np.float32)
    centre_norms = squared_norms(centres)
    doubled = np.ascontiguousarray(centres.T * np.float32(-2))
    everyone = np.arange(_ROWS)

    def work(part: slice) -> Floats:
        block = points[part] - origin
        nearness = block @ doubled
        nearness += centre_norms
        nearest = nearness.argmin(axis=1)
        places = everyone[: len(block)]
        labels[part] = nearest
        gaps[part] = np.maximum(nearness[places, nearest] + squared_norms(block), 0)
        return group_sums(block, labels[part], len(centres))

    total = np.zeros(centres.shape, np.float64)
    # Blocks of one size, so that no thread waits for another that has the only large one.
    blocks = -(-len(points) // _ROWS)
    for sums in in_blocks(work, len(points), -(-len(points) // blocks)):
        total += sums
    return Assignment(labels, gaps, total, np.bincount(labels, minlength=len(centres)))


def group_sums(points: NDArray[Real], labels: NDArray[np.int32], k: int) -> NDArray[Real]:
    """Sums (k, d) of points (n, d) by their labels, row after row and in their type."""
    ends = np.arange(len(points) + 1, dtype=np.int32)
    members = csc_array((np.ones(len(points), points.dtype), labels, ends), (k, len(points)))
    return np.asarray(members @ points)


def iterate(
    points: Floats, origin: Floats, centres: Floats, *, most: int, tolerance: float
) -> tuple[Floats, Assignment]:
    """Move centres to the means of their points until they rest, or `most` times.

    Args:
        points: (N, d) float32.
        origin: (d,) taken off the points.
        centres: (k, d) float32 to start from, from the origin.
        most: Moves at most.
        tolerance: Sum of the squared moves at which centres count as resting.

    Returns:
        The centres (k, d) from the origin, and the points given to them.
    """
    assignment = assign(points, origin, centres)
    for _ in range(most):
        moved = _means(points, origin, centres, assignment)
        shift = float(np.sum((moved - centres) ** 2, dtype=np.float64))
        centres = moved
        before, assignment = assignment.labels, assign(points, origin, centres)
        if shift <= tolerance or np.array_equal(before, assignment.labels):
            break
    return centres, assignment


def _means(points: Floats, origin: Floats, centres: Floats, assignment: Assignment) -> Floats:
    used = np.maximum(assignment.counts, 1)[:, None]
    means = (assignment.sums / used).astype(np.float32)
    empty = np.flatnonzero(assignment.counts == 0)
    if len(empty):
        # A centre that lost its points starts again at the point that is served worst.
        far = np.argsort(-assignment.gaps, kind="stable")[: len(empty)]
        means[empty] = points[far] - origin
    return means


def plus_plus(points: Floats, k: int, uniform: NDArray[np.float64]) -> Rows:
    """Draw the rows (k,) of k-means++ starts: far points are likely, the best of a few is taken.

    Args:
        points: (N, d) float32, near to the origin of their space.
        k: Starts, at most N.
        uniform: (k, trials) numbers in [0, 1).
    """
    # Column by column, as a product of a few rows with all of them reads it fastest.
    placed = np.asfortranarray(lifted(points))
    rows = np.empty(k, np.intp)
    rows[0] = int(uniform[0, 0] * len(points))
    gaps = _gaps(placed, rows[:1])[0]
    for number in range(1, k):
        reach = np.cumsum(gaps, dtype=np.float64)
        drawn = np.searchsorted(reach, uniform[number] * reach[-1], side="right")
        tried = np.minimum(drawn, len(points) - 1)
        options = np.minimum(_gaps(placed, tried), gaps)
        best = int(np.argmin(options.sum(axis=1, dtype=np.float64)))
        rows[number], gaps = tried[best], options[best]
    return rows


def _gaps(placed: Floats, rows: Rows) -> Floats:
    gaps = lifted_gaps(placed[rows], placed)
    return np.maximum(gaps, 0, out=gaps)
