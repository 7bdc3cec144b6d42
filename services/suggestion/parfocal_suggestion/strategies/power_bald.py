"""Power-BALD: BALD with chance, so that a batch does not hold the same candidate many times over.

A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron, Y. Gal, Stochastic Batch
Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023, section 3 (power acquisition).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import chosen
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.uncertainty import entropies_of_views
from parfocal_suggestion.weighted_draw import power_order, uniforms


@dataclass(frozen=True)
class PowerBald:
    """Draw without replacement with chances in proportion to a power of the BALD score.

    Adding Gumbel noise of scale 1 / strength to the logarithm of the score and taking the largest
    is the same draw. Candidates that score 0 come last, in uniform order.

    Attributes:
        strength: The power (beta), above 0, at most 1e9: the larger, the nearer to BALD; towards
            0, random.
    """

    strength: float = 1.0

    name: ClassVar[str] = "power-bald"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "drawn with chances in proportion to a power of the BALD score"
    reference: ClassVar[str] = "Kirsch et al., TMLR 2023"
    score: ClassVar[str] = "mutual information in nats"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = True
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
        """Draw `min(budget, available)` candidates, in the order of the draw.

        Raises:
            InvalidInput: If the pool has no predictions (`ERROR_REASON_MISSING_FIELD`), or of one
                view only, where all scores would be 0 (`ERROR_REASON_SHAPE_MISMATCH`).
        """
        predictive, expected = entropies_of_views(pool.views(at_least=2), checkpoint=checkpoint)
        scores = predictive - expected
        free = np.flatnonzero(pool.available)
        chances = uniforms(len(free), seed=seed, stream=self.name)
        rows = free[power_order(scores[free], self.strength, chances)[:budget]]
        parts = {"predictive_entropy": predictive, "expected_entropy": expected}
        return chosen(pool, rows, scores, parts)
