"""k-means that gives the same clusters every time, also where points coincide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import middle, squared_norms
from parfocal_suggestion.lloyd import Assignment, iterate, plus_plus
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.seeds import bit_generator, uniform

MAX_ITERATIONS = 300
"""Moves of the centres of one start; stored with every selection by the strategy's version."""

MAX_ITERATIONS_OVER_ALL = 4
"""Moves over all points where the starts saw a sample of them."""

_SAMPLE, _SAMPLE_FOR_EACH = 4096, 512
_TOLERANCE = 1e-4
"""Centres rest that move less than this, in parts of the mean variance of a column."""

_ROWS = 65536
_MEAN_ROWS = 8192
_WORK_FOR_RESTARTS = 2_000_000


@dataclass(frozen=True)
class Clusters:
    """A partition of N points into k groups that are never empty.

    Attributes:
        labels: (N,) int32 in 0..k-1, numbered by the first point of each group.
        centres: (k, d) float32, the means of the groups.
    """

    labels: NDArray[np.int32]
    centres: Floats

    @property
    def k(self) -> int:
        """How many groups there are; fewer than asked for where points coincide."""
        return len(self.centres)


def restarts(points: int, k: int) -> int:
    """Starts of k-means where none are asked for: 10 for small problems, 1 for large ones."""
    return int(np.clip(_WORK_FOR_RESTARTS // max(1, points * k), 1, 10))


def k_means(features: Floats, k: int, *, seed: int, n_init: int) -> Clusters:
    """Cluster points with k-means++ starts and Lloyd's iteration.

    Of more points than 512 for each group, and 4096, the starts see a random sample; the centres
    of the best then move over all points a few times more.

    Args:
        features: (N, d) float32, N > 0.
        k: Groups wanted, at least 1. Fewer come back if there are fewer distinct points.
        seed: 32-bit seed of the starts.
        n_init: Starts; the one with the least inertia is kept.
    """
    wanted = distinct_rows(features, at_most=k)
    if wanted == 1:
        return _clusters(features, np.zeros(len(features), np.int32))
    if wanted == len(features):
        return _clusters(features, np.arange(len(features), dtype=np.int32))
    origin = middle(features)
    random = bit_generator(seed, "k-means")
    sample = features[_sample(random, len(features), wanted)] - origin
    tolerance = _TOLERANCE * float(squared_norms(sample).mean()) / features.shape[1]
    centres, assignment = _best_start(random, sample, wanted, n_init, tolerance)
    if len(sample) < len(features):
        _, assignment = iterate(
            features, origin, centres, most=MAX_ITERATIONS_OVER_ALL, tolerance=tolerance
        )
    return _clusters(features, assignment.labels)


def _sample(random: np.random.PCG64, points: int, k: int) -> Rows | slice:
    size = max(_SAMPLE, _SAMPLE_FOR_EACH * k)
    if size >= points:
        return slice(None)
    return np.unique((uniform(random, (size,)) * points).astype(np.intp))


def _best_start(
    random: np.random.PCG64, points: Floats, k: int, starts: int, tolerance: float
) -> tuple[Floats, Assignment]:
    origin = np.zeros(points.shape[1], np.float32)
    found = []
    for _ in range(starts):
        drawn = uniform(random, (k, 2 + int(np.log(k))))
        first = points[plus_plus(points, k, drawn)]
        found.append(iterate(points, origin, first, most=MAX_ITERATIONS, tolerance=tolerance))
    return min(found, key=lambda start: start[1].inertia)


def distinct_rows(features: Floats, *, at_most: int) -> int:
    """Count different points, stopping at `at_most`."""
    count = 0
    rows = 2 * at_most
    while count < at_most:
        count = min(at_most, len(np.unique(features[:rows], axis=0)))
        if rows >= len(features):
            break
        rows *= 16
    return count


def distances_to(features: Floats, centres: Floats, labels: NDArray[np.int32]) -> Floats:
    """Euclidean distance (N,) of each point to the centre of its label."""
    distances = np.empty(len(features), np.float32)
    for start in range(0, len(features), _ROWS):
        part = slice(start, start + _ROWS)
        difference = features[part] - centres[labels[part]]
        distances[part] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances


def _clusters(features: Floats, labels: NDArray[np.int32]) -> Clusters:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int32)
    order[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    numbered = order[inverse]
    return Clusters(labels=numbered, centres=group_means(features, numbered, len(first)))


def group_means(features: Floats, labels: NDArray[np.int32], k: int) -> Floats:
    """Means (k, d) of groups of points, summed in float64."""

    def work(part: slice) -> NDArray[np.float64]:
        members = np.zeros((k, part.stop - part.start))
        members[labels[part], np.arange(part.stop - part.start)] = 1
        sums: NDArray[np.float64] = members @ features[part].astype(np.float64)
        return sums

    total = np.zeros((k, features.shape[1]))
    for sums in in_blocks(work, len(features), _MEAN_ROWS):
        total += sums
    return (total / np.bincount(labels, minlength=k)[:, None]).astype(np.float32)
