"""ProbCover: the candidates that have the most others around them that nobody speaks for.

O. Yehuda, A. Dekel, G. Hacohen, D. Weinshall, Active Learning Through a Covering Lens,
NeurIPS 2022, sections 3.2 (algorithm) and 3.3 (radius).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import middle, squared_norms
from parfocal_suggestion.kmeans import k_means
from parfocal_suggestion.pool import Floats, Mask, Pool, Rows
from parfocal_suggestion.seeds import bit_generator, derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint

_ENTRIES = 1 << 20
_ROWS = 255
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
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "greedy cover: most candidates within a radius that are not covered"
    reference: ClassVar[str] = "Yehuda et al., NeurIPS 2022"
    score: ClassVar[str] = "candidates that it covered first"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream and fill in clusters and radius.

        Raises:
            InvalidInput: If there is no such stream, or the purity is out of range.
        """
        if not 0 < self.purity < 1:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the purity must be above 0 and below 1, got {self.purity}",
                field="strategy.probcover.purity",
                value=self.purity,
            )
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
        near = balls.around(int(free[place]))
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
    step = max(1, 4 * _ENTRIES // len(features))
    for start in range(0, len(sample), step):
        rows = sample[start : start + step]
        squared = norms[rows, None] + norms - 2 * (centred[rows] @ centred.T)
        squared[groups.labels[rows, None] == groups.labels] = np.inf
        gaps[start : start + step] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return float(np.quantile(gaps, 1 - purity))


class _Balls:
    """Which of the free points lie within a radius of which points."""

    def __init__(self, features: Floats, free: Rows, radius: float) -> None:
        moved = features - middle(features)
        norms = squared_norms(moved)
        # |x - y|^2 <= r^2 as one product: (x, 1) (y, -|y|^2 / 2) >= (|x|^2 - r^2) / 2.
        self._points = np.hstack([moved, np.ones((len(moved), 1), np.float32)])
        self._free = np.hstack([moved[free], norms[free, None] / np.float32(-2)])
        # Features reach no farther than 1e15, and the square of this is a float32.
        self._least = (norms - np.float32(min(radius, 1e18)) ** 2) / np.float32(2)

    def around(self, row: int) -> Mask:
        """(free,) True where not farther from a point than the radius."""
        return np.asarray(self._free @ self._points[row] >= self._least[row])

    def count(self, rows: Rows, checkpoint: Checkpoint) -> Rows:
        """How many of the points `rows` lie within the radius of each free one."""
        points, least = self._points[rows], self._least[rows, None]

        def work(part: slice) -> Rows:
            free = self._free[part].T
            counts = np.zeros(free.shape[1], np.intp)
            for start in range(0, len(rows), _ROWS):
                some = slice(start, start + _ROWS)
                near = (points[some] @ free >= least[some]).view(np.uint8)
                # So few rows that their sum is a byte.
                counts += np.add.reduce(near, axis=0, dtype=np.uint8)
            return counts

        counts = []
        for each in in_blocks(work, len(self._free), max(1, _ENTRIES // _ROWS)):
            checkpoint()
            counts.append(each)
        return np.concatenate(counts)


def _classes(pool: Pool) -> int:
    if pool.predictions is None and pool.probabilities is None:
        return 0
    return int(pool.class_probabilities().shape[1])
