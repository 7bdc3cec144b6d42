"""Entropy: the candidates of which the base model is least sure.

B. Settles, Active Learning Literature Survey, University of Wisconsin-Madison TR 1648 (2009),
section 3.1; C. E. Shannon, A Mathematical Theory of Communication (1948). For two classes this
ranks as margin and least confidence do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from parfocal_suggestion.objectives import Fixed
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import best
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.uncertainty import entropy


@dataclass(frozen=True)
class Entropy:
    """Take the largest entropy of the class probabilities; equals go by id."""

    name: ClassVar[str] = "entropy"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "largest entropy of the base model's mean probability"
    reference: ClassVar[str] = "Shannon 1948; Settles 2009, section 3.1"
    score: ClassVar[str] = "entropy in nats"
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
        """Rank by entropy.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`).
        """
        return best(pool, self.objective(pool, seed=seed).scores, budget)

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score by entropy.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`).
        """
        return Fixed(entropy(pool.class_probabilities()))
