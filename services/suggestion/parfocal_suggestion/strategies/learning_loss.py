"""Learning-loss: the candidates on which a model expects to be most wrong.

D. Yoo, I. S. Kweon, Learning Loss for Active Learning, CVPR 2019, sections 3.1 and 4.1. The
branch that predicts the loss belongs to the model; this ranks what it predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.objectives import Fixed
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import chosen
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.strategies.random_draw import draw


@dataclass(frozen=True)
class LearningLoss:
    """Take the largest predicted loss in a random part of the pool; equals go by id.

    The random part keeps look-alikes of one large loss from filling the batch.

    Attributes:
        measure: Name of the measure that holds the predicted loss.
        subset: Candidates drawn before ranking; at least the budget is.
    """

    measure: str = "predicted_loss"
    subset: int = 10_000

    name: ClassVar[str] = "learning-loss"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "largest predicted loss in a random part of the pool"
    reference: ClassVar[str] = "Yoo and Kweon, CVPR 2019"
    score: ClassVar[str] = "predicted loss"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = True

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Return the strategy itself; there is nothing to derive."""
        return self

    def space(self, pool: Pool) -> Floats | None:
        """Judge no likeness."""
        return None

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Rank a random part by predicted loss.

        Raises:
            InvalidInput: If there is no such measure (`ERROR_REASON_INVALID_FIELD`).
        """
        losses = pool.measure(self.measure)
        drawn = draw(pool, max(self.subset, budget), seed=seed, stream=self.name)
        rows = np.sort(pool.rows_of(drawn))
        order = np.argsort(-losses[rows], kind="stable")[:budget]
        return chosen(pool, rows[order], losses)

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score everything by its predicted loss."""
        return Fixed(pool.measure(self.measure))
