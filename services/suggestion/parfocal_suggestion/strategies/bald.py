"""BALD: the candidates on which the views, each sure, disagree.

N. Houlsby, F. Huszar, Z. Ghahramani, M. Lengyel, Bayesian Active Learning for Classification and
Preference Learning, arXiv 1112.5745 (2011); Y. Gal, R. Islam, Z. Ghahramani, Deep Bayesian Active
Learning with Image Data, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from parfocal_suggestion.objectives import Fixed
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.ranking import best
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.uncertainty import entropies_of_views


@dataclass(frozen=True)
class Bald:
    """Take the largest mutual information of class and view; equals go by id.

    It is the entropy of the mean prediction minus the mean entropy of the predictions. The views
    are samples of the model: members of an ensemble, or passes with dropout.
    """

    name: ClassVar[str] = "bald"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "largest mutual information of class and view"
    reference: ClassVar[str] = "Houlsby et al., 2011; Gal et al., ICML 2017"
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
        """Rank by mutual information.

        Raises:
            InvalidInput: If the pool has no predictions (`ERROR_REASON_MISSING_FIELD`), or of one
                view only, where all scores would be 0 (`ERROR_REASON_SHAPE_MISMATCH`).
        """
        predictive, expected = entropies_of_views(pool.views(at_least=2), checkpoint=checkpoint)
        parts = {"predictive_entropy": predictive, "expected_entropy": expected}
        return best(pool, predictive - expected, budget, parts)

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score as `select` does."""
        return Fixed.of_ranking(self, pool, seed=seed)
