"""Shares: a part of the budget for each of several strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.nesting import Weighted, part_names
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy


def _default() -> tuple[Weighted, ...]:
    return Weighted(Entropy()), Weighted(CoreSet())


@dataclass(frozen=True)
class Shares:
    """Ask several strategies one after the other, each knowing what those before it took.

    Attributes:
        parts: The strategies; the share of each is its weight over the sum of weights.
    """

    parts: tuple[Weighted, ...] = field(default_factory=_default)

    name: ClassVar[str] = "shares"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "a share of the budget for each of several strategies"
    reference: ClassVar[str] = ""
    score: ClassVar[str] = "score of the part that chose it"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in the parts, each for its share."""
        counts = shared([part.weight for part in self.parts], budget)
        return replace(
            self,
            parts=tuple(
                replace(part, strategy=part.strategy.resolved(pool, max(1, count)))
                for part, count in zip(self.parts, counts, strict=True)
            ),
        )

    def space(self, pool: Pool) -> Floats | None:
        """Judge likeness as the first part that does."""
        spaces = (part.strategy.space(pool) for part in self.parts)
        return next((space for space in spaces if space is not None), None)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, part by part."""
        me = self.resolved(pool, budget)
        count = min(budget, int(np.count_nonzero(pool.available)))
        names = part_names([part.strategy for part in me.parts])
        found: list[Selection] = []
        for at, share in enumerate(shared([part.weight for part in me.parts], count)):
            chosen = me.parts[at].strategy.select(
                pool, share, seed=derived_seed(seed, "shares", index=at), checkpoint=checkpoint
            )
            pool = pool.with_pending(chosen.candidates)
            found.append(replace(chosen, chosen_by=(names[at],) * len(chosen.candidates)))
        return Selection.joined(found)


def shared(weights: Sequence[float], budget: int) -> list[int]:
    """Share a budget by weights: whole numbers that sum to it, by the largest remainders."""
    exact = np.array(weights) / sum(weights) * budget
    counts = np.floor(exact).astype(np.int64)
    by_remainder = np.lexsort((np.arange(len(exact)), -(exact - counts)))
    counts[by_remainder[: budget - counts.sum()]] += 1
    return [int(count) for count in counts]
