"""k-means that gives the same clusters every time, also where points coincide."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from parfocal_suggestion.pool import Floats

MAX_ITERATIONS = 300
"""Lloyd iterations of one start; stored with every selection by the strategy's version."""

_ROWS = 65536
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
    """Cluster points with k-means++ starts and Lloyd's iteration (scikit-learn's KMeans).

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
    model = KMeans(
        n_clusters=wanted,
        init="k-means++",
        n_init=n_init,
        max_iter=MAX_ITERATIONS,
        algorithm="lloyd",
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Points closer than float32 can tell apart leave groups empty; they are dropped below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(features).labels_
    return _clusters(features, labels)


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
    counts = np.bincount(labels, minlength=k)
    sums = np.empty((k, features.shape[1]), np.float64)
    for column in range(features.shape[1]):
        sums[:, column] = np.bincount(labels, weights=features[:, column], minlength=k)
    return (sums / counts[:, None]).astype(np.float32)
