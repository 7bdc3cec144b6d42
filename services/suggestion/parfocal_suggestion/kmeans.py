"""k-means that gives the same clusters every time, also where points coincide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import middle, squared_norms
from parfocal_suggestion.lloyd import Assignment, group_sums, iterate, plus_plus
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.seeds import bit_generator, uniform

MAX_ITERATIONS = 300
"""Moves of the centres of one start; stored with every selection by the strategy's version."""

MAX_ITERATIONS_OF_SAMPLE, MAX_ITERATIONS_OVER_ALL = 10, 2
"""Moves over a sample, and then over all points, where one start over all is too much work."""

_WORK, _FEW = 2_000_000, 32
"""Points times centres that all starts together may see; fewer centres cost as much as these."""
_SAMPLE, _SAMPLE_FOR_EACH = 4096, 64
_TOLERANCE = 1e-4
"""Centres rest that move less than this, in parts of the mean variance of a column."""

_ROWS = 8192


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
    return int(np.clip(_WORK // max(1, points * k), 1, 10))


def k_means(features: Floats, k: int, *, seed: int, n_init: int) -> Clusters:
    """Cluster points with k-means++ starts and Lloyd's iteration.

    Where points times groups (at least 32) are more than two millions, the starts see a random
    sample of 64 points for each group, and at least 4096; the centres of the best then move over
    all points twice more.

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
    places = _sample(random, len(features), wanted)
    sample = features[places] - origin
    tolerance = _TOLERANCE * float(squared_norms(sample).mean()) / features.shape[1]
    whole = len(sample) == len(features)
    most = MAX_ITERATIONS if whole else MAX_ITERATIONS_OF_SAMPLE
    # Every second of a sample is enough to draw starts from.
    first = sample if whole else sample[::2]
    starts = (
        _start(random, sample, first, wanted, most=most, tolerance=tolerance) for _ in range(n_init)
    )
    centres, assignment = min(starts, key=lambda start: start[1].inertia)
    if not whole:
        _, assignment = iterate(
            features, origin, centres, most=MAX_ITERATIONS_OVER_ALL, tolerance=tolerance
        )
    return _clusters(features, assignment.labels)


def _sample(random: np.random.PCG64, points: int, k: int) -> Rows | slice:
    size = max(_SAMPLE, _SAMPLE_FOR_EACH * k)
    if points * max(k, _FEW) <= _WORK or points <= size:
        return slice(None)
    return np.unique((uniform(random, (size,)) * points).astype(np.intp))


def _start(
    random: np.random.PCG64,
    points: Floats,
    first: Floats,
    k: int,
    *,
    most: int,
    tolerance: float,
) -> tuple[Floats, Assignment]:
    drawn = uniform(random, (k, 2 + int(np.log(k))))
    centres = first[plus_plus(first, k, drawn)]
    origin = np.zeros(points.shape[1], np.float32)
    return iterate(points, origin, centres, most=most, tolerance=tolerance)


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

    def work(part: slice) -> None:
        difference = features[part] - centres[labels[part]]
        distances[part] = np.sqrt(squared_norms(difference))

    for _ in in_blocks(work, len(features), _ROWS):
        pass
    return distances


def _clusters(features: Floats, labels: NDArray[np.int32]) -> Clusters:
    first = np.full(labels.max() + 1, len(labels))
    # The last to be written is the first of its label.
    first[labels[::-1]] = np.arange(len(labels))[::-1]
    order = np.argsort(first, kind="stable")
    number = np.empty(len(first), np.int32)
    number[order] = np.arange(len(first), dtype=np.int32)
    numbered = number[labels]
    groups = int(np.count_nonzero(first < len(labels)))
    return Clusters(labels=numbered, centres=group_means(features, numbered, groups))


def group_means(features: Floats, labels: NDArray[np.int32], k: int) -> Floats:
    """Means (k, d) of groups of points, summed in float64."""

    def work(part: slice) -> NDArray[np.float64]:
        return group_sums(features[part].astype(np.float64), labels[part], k)

    total = np.zeros((k, features.shape[1]))
    for sums in in_blocks(work, len(features), _ROWS):
        total += sums
    return (total / np.bincount(labels, minlength=k)[:, None]).astype(np.float32)
