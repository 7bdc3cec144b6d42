"""Similarity: what looks like the positive examples, and like many others.

B. Settles, M. Craven, An Analysis of Active Learning Strategies for Sequence Labeling Tasks,
EMNLP 2008, section 3.4 (information density), with likeness to examples as what it weighs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import best
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.similarity import greatest_cosine, inverse_norms


@dataclass(frozen=True)
class SimilaritySearch:
    """Take the candidates most alike to a candidate labelled True, weighted by density.

    Likeness is (1 + cosine) / 2 with the most alike example, density the mean of (1 + cosine) / 2
    with the whole pool. The score is likeness times density to the power of `density_strength`.
    Without an example it is the density alone.

    Attributes:
        stream: Features to compare in; the first stream of the pool if empty.
        density_strength: How much density counts; 0 ranks by likeness alone.
    """

    stream: str = ""
    density_strength: float = 1.0

    name: ClassVar[str] = "similarity"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "most alike to what is labelled True, weighted by density"
    reference: ClassVar[str] = "Settles and Craven, EMNLP 2008, section 3.4"
    score: ClassVar[str] = "likeness to the nearest example times density, 0 to 1"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream."""
        return replace(self, stream=self.stream or next(iter(pool.streams), ""))

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the stream."""
        return pool.stream(self.stream)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, the greatest score first.

        Raises:
            InvalidInput: If there is no such stream.
        """
        features = pool.stream(self.stream)
        if not np.any(pool.available):
            return Selection.nothing(pool)
        checkpoint()
        inverse = inverse_norms(features)
        examples = pool.labelled_rows[pool.verdicts]
        density = _density(features, inverse)
        if not len(examples):
            unknown = np.full_like(density, np.nan)
            return best(pool, density, budget, {"likeness": unknown, "density": density})
        checkpoint()
        likeness = _share(greatest_cosine(features, inverse, features[examples]))
        scores = likeness * density.astype(np.float64) ** self.density_strength
        parts = {"likeness": likeness, "density": density}
        return best(pool, scores.astype(np.float32), budget, parts)


def _density(features: Floats, inverse: Floats) -> Floats:
    """Mean (N,) of the likeness to all; the mean of cosines is a cosine with a mean."""
    mean = (inverse @ features) / np.float32(len(features))
    return _share((features @ mean) * inverse)


def _share(cosines: Floats) -> Floats:
    return np.clip((1 + cosines) / 2, 0, 1).astype(np.float32)
