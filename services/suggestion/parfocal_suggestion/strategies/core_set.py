"""Core-set: the candidates that leave no other far from a labelled one.

O. Sener, S. Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach,
ICLR 2018, algorithm 1 (k-centre greedy).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.k_centre import farthest_first
from parfocal_suggestion.labelled_distances import labelled_distances
from parfocal_suggestion.objectives import Spread
from parfocal_suggestion.pool import Floats, Pool
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
    version: ClassVar[str] = "2"
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
        count = min(budget, int(np.count_nonzero(pool.available)))
        if not count:
            return Selection.nothing(pool)
        squared, unknown = labelled_distances(pool, features)
        rows, radii = farthest_first(
            features,
            np.where(pool.available, squared, np.float32(-1)),
            count,
            lacking=features[unknown],
            checkpoint=checkpoint,
        )
        return Selection.without_cells(pool, pool.candidates[rows], radii)

    def objective(self, pool: Pool, *, seed: int) -> Spread:
        """Score by the distance to the nearest labelled or taken candidate.

        Raises:
            InvalidInput: If there is no such stream.
        """
        return Spread(pool.stream(self.stream), np.flatnonzero(pool.taken))
