"""Class-stratified random: the baseline where classes are rare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.cells import allot
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import bit_generator
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class ClassRandom:
    """Draw the same number from each predicted class, uniformly and without replacement.

    The predicted class is the likeliest, the first of equals. What a class that is used up leaves
    goes to the others; what does not divide goes to the largest.
    """

    name: ClassVar[str] = "class-random"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "uniform draw, the same number from each predicted class"
    reference: ClassVar[str] = ""
    score: ClassVar[str] = ""
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
        """Draw `min(budget, available)` candidates, in random order.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`).
        """
        probabilities = pool.class_probabilities()
        free = np.flatnonzero(pool.available)
        classes = np.argmax(probabilities[free], axis=1)
        keys = bit_generator(seed, self.name).random_raw(len(free))
        order = np.lexsort((keys, classes))
        sizes = np.bincount(classes, minlength=probabilities.shape[1])
        starts = np.cumsum(sizes) - sizes
        place = np.arange(len(free)) - starts[classes[order]]
        drawn = order[place < allot(sizes, budget)[classes[order]]]
        # The keys of a small class that is taken whole are smaller on average: draw the order anew.
        shown = bit_generator(seed, f"{self.name} order").random_raw(len(free))[drawn]
        rows = free[drawn[np.argsort(shown, kind="stable")]]
        return Selection.without_cells(
            pool, pool.candidates[rows], np.full(len(rows), np.nan, np.float32)
        )
