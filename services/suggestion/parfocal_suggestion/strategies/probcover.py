"""ProbCover: the candidates that have the most others around them that nobody speaks for.

O. Yehuda, A. Dekel, G. Hacohen, D. Weinshall, Active Learning Through a Covering Lens,
NeurIPS 2022, sections 3.2 (algorithm) and 3.3 (radius).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.distances import middle, squared_norms
from parfocal_suggestion.kmeans import k_means
from parfocal_suggestion.pool import Floats, Mask, Pool, Rows
from parfocal_suggestion.seeds import bit_generator, derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint

_ENTRIES = 1 << 22
_SAMPLE = 2000


@dataclass(frozen=True)
class ProbCover:
    """Again and again take the candidate that covers the most that is not covered yet.

    A candidate covers all within a radius of it, itself included; what is labelled or pending
    covers from the start. Equals go by id. When all is covered, the rest is drawn uniformly.

    Distances are computed in blocks and counted, never stored: each is computed twice at most.

    Attributes:
        stream: Features to measure in; the first stream of the pool if empty.
        radius: The radius, in units of the features, or 0 to derive it: the largest at which
            `purity` of the balls hold one cluster only, by k-means.
        purity: Share of balls that hold one cluster, above 0 and below 1.
        clusters: Clusters of that k-means, or 0 for the number of classes where it is known, of
            picks where not.
    """

    stream: str = ""
    radius: float = 0.0
    purity: float = 0.95
    clusters: int = 0

    name: ClassVar[str] = "probcover"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "greedy cover: most candidates within a radius that are not covered"
    reference: ClassVar[str] = "Yehuda et al., NeurIPS 2022"
    score: ClassVar[str] = "candidates that it covered first"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream and fill in clusters and radius."""
        stream = self.stream or next(iter(pool.streams), "")
        clusters = self.clusters or _classes(pool) or budget
        radius = self.radius or pure_radius(
            pool.stream(stream), clusters=clusters, purity=self.purity
        )
        return replace(self, stream=stream, radius=radius, clusters=clusters)

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the stream."""
        return pool.stream(self.stream)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, those that cover most first.

        Raises:
            InvalidInput: If there is no such stream.
        """
        features = pool.stream(self.stream)
        if not np.any(pool.available):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        free = np.flatnonzero(pool.available)
        rows, scores = greedy_cover(
            features,
            pool.available,
            min(budget, len(free)),
            strategy.radius,
            taken=pool.taken,
            checkpoint=checkpoint,
        )
        left = np.setdiff1d(free, rows)
        keys = bit_generator(seed, self.name).random_raw(len(left))
        drawn = left[np.argsort(keys, kind="stable")][: budget - len(rows)]
        nothing = np.zeros(len(drawn), np.float32)
        return Selection.without_cells(
            pool,
            pool.candidates[np.concatenate([rows, drawn])],
            np.concatenate([scores, nothing]),
        )


def greedy_cover(
    features: Floats,
    available: Mask,
    count: int,
    radius: float,
    *,
    taken: Mask | None = None,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[Rows, Floats]:
    """Choose points that cover the most of what is not covered, until all is.

    Args:
        features: (N, d) float32.
        available: (N,) True where a point may be chosen.
        count: Most points to choose.
        radius: Two points that are not farther apart cover each other.
        taken: (N,) True where a point covers from the start; all that are not available if None.
            What is neither covers nothing and need not be covered.
        checkpoint: Called once per block and per pick.

    Returns:
        Rows (at most `count`,) in the order of the picks, and how many points each covered first.
    """
    free = np.flatnonzero(available)
    balls = _Balls(features, free, radius)
    covering = ~available if taken is None else taken
    uncovered = available.copy()
    uncovered[free[balls.count(np.flatnonzero(covering), checkpoint) > 0]] = False
    degrees = balls.count(np.flatnonzero(uncovered), checkpoint)
    rows: list[int] = []
    covered: list[int] = []
    while len(rows) < count and np.any(uncovered):
        checkpoint()
        place = int(np.argmax(degrees))
        near = balls.around(free[place : place + 1])[0]
        # Rounding may put a point outside its own ball.
        near[place] = True
        new = free[near & uncovered[free]]
        rows.append(int(free[place]))
        covered.append(len(new))
        uncovered[new] = False
        degrees -= balls.count(new, checkpoint)
        # Nor may rounding leave it a count: it must not be chosen again.
        degrees[place] = -len(features)
    return np.array(rows, np.intp), np.array(covered, np.float32)


def pure_radius(features: Floats, *, clusters: int, purity: float) -> float:
    """Return the largest radius at which a share `purity` of balls hold one k-means cluster only.

    A ball is pure until it reaches the nearest point of another cluster, so that the radius is a
    quantile of those distances; of large pools, over 2000 points evenly spaced by row.

    Args:
        features: (N, d) float32.
        clusters: Clusters of the k-means.
        purity: Share of the balls.
    """
    if not len(features):
        return 0.0
    groups = k_means(features, clusters, seed=derived_seed(0, "pure radius"), n_init=1)
    centred = features - middle(features)
    norms = squared_norms(centred)
    if groups.k == 1:
        return float(np.sqrt(norms.mean(dtype=np.float64)))
    sample = np.arange(0, len(features), max(1, len(features) // _SAMPLE))
    gaps = np.empty(len(sample), np.float32)
    step = max(1, _ENTRIES // len(features))
    for start in range(0, len(sample), step):
        rows = sample[start : start + step]
        squared = norms[rows, None] + norms - 2 * (centred[rows] @ centred.T)
        squared[groups.labels[rows, None] == groups.labels] = np.inf
        gaps[start : start + step] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return float(np.quantile(gaps, 1 - purity))


class _Balls:
    """Which of the free points lie within a radius of which points."""

    def __init__(self, features: Floats, free: Rows, radius: float) -> None:
        self._all = features - middle(features)
        self._free = self._all if len(free) == len(features) else self._all[free]
        self._norms = squared_norms(self._free)
        self._squared = np.float32(radius) ** 2

    def around(self, rows: Rows) -> Mask:
        """(rows, free) True where not farther apart than the radius."""
        points = self._all[rows]
        gaps = points @ self._free.T
        gaps *= -2
        gaps += self._norms
        gaps += squared_norms(points)[:, None]
        return np.asarray(gaps <= self._squared)

    def count(self, rows: Rows, checkpoint: Checkpoint) -> Rows:
        """How many of the points `rows` lie within the radius of each free one."""
        counts = np.zeros(len(self._free), np.intp)
        step = max(1, _ENTRIES // max(1, len(self._free)))
        for start in range(0, len(rows), step):
            checkpoint()
            counts += np.count_nonzero(self.around(rows[start : start + step]), axis=0)
        return counts


def _classes(pool: Pool) -> int:
    if pool.predictions is None and pool.probabilities is None:
        return 0
    return int(pool.class_probabilities().shape[1])
