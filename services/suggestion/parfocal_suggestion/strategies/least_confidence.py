"""Least confidence: the candidates whose likeliest class is least likely.

D. D. Lewis, W. A. Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994;
B. Settles, Active Learning Literature Survey, University of Wisconsin-Madison TR 1648 (2009),
section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.objectives import Fixed
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import best
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class LeastConfidence:
    """Take the smallest probability of the likeliest class; equals go by id."""

    name: ClassVar[str] = "least-confidence"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "smallest probability of the likeliest class"
    reference: ClassVar[str] = "Lewis and Gale, SIGIR 1994"
    score: ClassVar[str] = "probability that the likeliest class is wrong"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = True
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Return the strategy itself; there is nothing to derive."""
        return self

    def space(self, pool: Pool) -> Floats | None:
        """Judge no likeness."""
        return None

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Rank by doubt.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`).
        """
        doubt = 1 - pool.class_probabilities().max(axis=1)
        return best(pool, doubt.astype(np.float32), budget)

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score as `select` does."""
        return Fixed.of_ranking(self, pool, seed=seed)
