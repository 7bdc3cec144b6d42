"""Core-set: the candidates that leave no other far from a labelled one.

O. Sener, S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach,
ICLR 2018, algorithm 1 (k-centre greedy).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.distances import nearest, squared_norms
from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class CoreSet:
    """Again and again take the candidate farthest from all that is labelled or taken.

    Starts from the labelled and pending candidates; without any, from the candidate nearest to
    the mean. Equals go by id. It seeks outliers: on noisy features expect less than random.

    Attributes:
        stream: Features to measure in; the first stream of the pool if empty.
    """

    stream: str = ""

    name: ClassVar[str] = "core-set"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "k-centre greedy: farthest from all labelled and taken"
    reference: ClassVar[str] = "Sener and Savarese, ICLR 2018"
    score: ClassVar[str] = "distance to the nearest labelled or taken candidate when picked"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream."""
        return replace(self, stream=self.stream or next(iter(pool.streams), ""))

    def space(self, pool: Pool) -> Floats:
        """Measure in the stream."""
        return pool.stream(self.stream)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, farthest first.

        Raises:
            InvalidInput: If there is no such stream.
        """
        features = pool.stream(self.stream)
        free = np.flatnonzero(pool.available)
        taken = np.flatnonzero(~pool.available)
        rows, radii = k_centre_greedy(
            features[free], features[taken], min(budget, len(free)), checkpoint=checkpoint
        )
        return Selection.without_cells(pool, pool.candidates[free[rows]], radii)


def k_centre_greedy(
    points: Floats, centres: Floats, count: int, *, checkpoint: Checkpoint = no_checkpoint
) -> tuple[Rows, Floats]:
    """Choose `count` points, each the farthest from all centres so far.

    One pass over the points per pick: the distance of every point to its nearest centre is kept
    and lowered, and the distances to the new centre are one matrix-vector product.

    Args:
        points: (N, d) float32.
        centres: (M, d) float32 that are there from the start; may be empty.
        count: Picks, at most N.
        checkpoint: Called once per pick.

    Returns:
        Rows (count,) in the order of the picks, and the distance (count,) of each to its nearest
        centre when it was picked; NaN for a first pick without centres.
    """
    rows = np.empty(count, np.intp)
    radii = np.empty(count, np.float32)
    if not count:
        return rows, radii
    centred = points - points.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = squared_norms(centred)
    squared = np.full(len(points), np.inf, np.float32)
    if len(centres):
        squared = np.square(nearest(points, centres)[1])
    for pick in range(count):
        checkpoint()
        first = pick == 0 and not len(centres)
        row = int(np.argmin(norms)) if first else int(np.argmax(squared))
        rows[pick] = row
        radii[pick] = np.nan if first else np.sqrt(squared[row])
        to_new = np.maximum(norms + norms[row] - 2 * (centred @ centred[row]), 0)
        np.minimum(squared, to_new, out=squared)
        squared[row] = -1
    return rows, radii
