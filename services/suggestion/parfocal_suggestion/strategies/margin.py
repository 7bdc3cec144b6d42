"""Margin: the candidates whose two likeliest classes are closest.

T. Scheffer, C. Decomain, S. Wrobel, Active Hidden Markov Models for Information Extraction,
IDA 2001; B. Settles, Active Learning Literature Survey, University of Wisconsin-Madison TR 1648
(2009), section 3.1.
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
class Margin:
    """Take the smallest difference of the two largest class probabilities; equals go by id."""

    name: ClassVar[str] = "margin"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "smallest difference of the two likeliest classes"
    reference: ClassVar[str] = "Scheffer et al., IDA 2001"
    score: ClassVar[str] = "1 minus the difference of the two largest probabilities"
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
        """Rank by closeness of the two likeliest classes.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`).
        """
        probabilities = pool.class_probabilities()
        if probabilities.shape[1] == 1:
            return best(pool, np.zeros(len(pool), np.float32), budget)
        two = np.partition(probabilities, -2, axis=1)[:, -2:]
        return best(pool, (1 - (two[:, 1] - two[:, 0])).astype(np.float32), budget)

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score as `select` does."""
        return Fixed.of_ranking(self, pool, seed=seed)
