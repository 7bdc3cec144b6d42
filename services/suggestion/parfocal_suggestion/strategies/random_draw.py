"""Random: the baseline that every other strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.pool import Floats, Ids, Pool, Rows
from parfocal_suggestion.seeds import bit_generator
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.smallest import smallest


@dataclass(frozen=True)
class RandomDraw:
    """Draw uniformly without replacement; the order of the draw is the order shown."""

    name: ClassVar[str] = "random"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "uniform draw without replacement"
    reference: ClassVar[str] = ""
    score: ClassVar[str] = ""
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
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
        """Draw `min(budget, available)` candidates."""
        drawn = draw(pool, budget, seed=seed, stream=self.name)
        return Selection.without_cells(pool, drawn, np.full(len(drawn), np.nan, np.float32))


def draw(pool: Pool, count: int, *, seed: int, stream: str) -> Ids:
    """Draw up to `count` available candidates uniformly, in the order of the draw.

    A larger draw from the same seed begins with the smaller one.
    """
    return pool.candidates[drawn_rows(pool, count, seed=seed, stream=stream)]


def drawn_rows(pool: Pool, count: int, *, seed: int, stream: str) -> Rows:
    """Draw as `draw` does, and return rows of the pool."""
    free = np.flatnonzero(pool.available)
    # Sorted raw numbers rather than Generator.choice, whose algorithm NumPy may change.
    keys = bit_generator(seed, stream).random_raw(len(free))
    return free[smallest(keys, count)]
