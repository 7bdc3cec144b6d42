"""BADGE: candidates that would move the model much, and in different directions.

J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford, A. Agarwal, Deep Batch Active Learning by
Diverse, Uncertain Gradient Lower Bounds, ICLR 2020, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.distances import squared_norms
from parfocal_suggestion.pool import Floats, Mask, Pool, Rows
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.weighted_draw import Doubles, uniforms


@dataclass(frozen=True)
class Badge:
    """Draw by k-means++ among the gradients that the likeliest class would cause.

    The gradient of the loss at the last layer, were the likeliest class the true one, is the
    product of (probabilities minus that class) and the features: long where the model is unsure.
    The first pick has the longest, as in the released code; each further one is drawn with a
    chance in proportion to the squared distance to the nearest pick so far. Where all that is
    left coincides with a pick, the rest is drawn uniformly.

    The gradients (N, C d) are never formed: their inner products are those of both factors.

    Attributes:
        stream: Features that the model classifies by; the first stream of the pool if empty.
    """

    stream: str = ""

    name: ClassVar[str] = "badge"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "k-means++ draw among the gradients of the likeliest class"
    reference: ClassVar[str] = "Ash et al., ICLR 2020"
    score: ClassVar[str] = "distance to the nearest earlier pick, of the first to 0, of gradients"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = True
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
        """Draw `min(budget, available)` candidates, in the order of the draw.

        Raises:
            InvalidInput: If there is no such stream, or the pool has no probabilities.
        """
        features, errors = pool.stream(self.stream), likeliest_errors(pool.class_probabilities())
        free = np.flatnonzero(pool.available)
        picks = min(budget, len(free))
        rows, gaps = plus_plus(
            errors[free],
            features[free],
            uniforms(picks, seed=seed, stream=self.name),
            checkpoint=checkpoint,
        )
        lengths = np.sqrt(squared_norms(errors[free]) * squared_norms(features[free]))
        parts = {"gradient": lengths[rows].astype(np.float32)}
        return Selection.without_cells(pool, pool.candidates[free[rows]], gaps, parts)


def likeliest_errors(probabilities: Doubles) -> Floats:
    """Probabilities (N, C) minus 1 at the likeliest class, the first of equals; float32."""
    errors = probabilities.astype(np.float32)
    errors[np.arange(len(errors)), np.argmax(probabilities, axis=1)] -= 1
    return errors


def plus_plus(
    errors: Floats,
    features: Floats,
    chances: Doubles,
    *,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[Rows, Floats]:
    """Draw rows of the outer products of two factors by k-means++.

    Args:
        errors: (N, C) float32.
        features: (N, d) float32.
        chances: (count,) random numbers above 0 and below 1, one for each pick; at most N.
        checkpoint: Called once per pick.

    Returns:
        Rows (count,) in the order of the picks, and the distance (count,) of each to the nearest
        earlier one; of the first, its length.
    """
    norms = (squared_norms(errors) * squared_norms(features).astype(np.float64)).astype(np.float64)
    nearest = np.full(len(norms), np.inf)
    left = np.ones(len(norms), np.bool_)
    rows = np.empty(len(chances), np.intp)
    gaps = np.empty(len(chances), np.float32)
    for pick, chance in enumerate(chances):
        checkpoint()
        row = int(np.argmax(norms)) if pick == 0 else _drawn(nearest, left, chance)
        rows[pick], gaps[pick] = row, np.sqrt(nearest[row] if pick else norms[row])
        products = (errors @ errors[row]).astype(np.float64) * (features @ features[row])
        np.minimum(nearest, np.maximum(norms + norms[row] - 2 * products, 0), out=nearest)
        nearest[row] = 0
        left[row] = False
    return rows, gaps


def _drawn(weights: Doubles, left: Mask, chance: float) -> int:
    sums = np.cumsum(weights if np.any(weights) else left, dtype=np.float64)
    row = int(np.searchsorted(sums, chance * sums[-1], side="right"))
    # The product may be rounded up to the whole sum: that is the last with a chance.
    return min(row, int(np.searchsorted(sums, sums[-1])))
