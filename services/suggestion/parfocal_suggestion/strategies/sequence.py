"""Sequence: one strategy on the shortlist of another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.nesting import part_names
from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, Strategy, no_checkpoint
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy


@dataclass(frozen=True)
class Sequence:
    """Let one strategy make a shortlist and another choose from it.

    The second one sees the shortlist, what is labelled and what is pending, and nothing else: on
    a million candidates it costs what it costs on the shortlist.

    Attributes:
        shortlist: Makes the shortlist.
        choice: Chooses from it.
        factor: Size of the shortlist in budgets, at least 1, rounded up; at most the pool.
    """

    shortlist: Strategy = field(default_factory=Entropy)
    choice: Strategy = field(default_factory=CoreSet)
    factor: float = 5.0

    name: ClassVar[str] = "sequence"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "one strategy on the shortlist of another"
    reference: ClassVar[str] = ""
    score: ClassVar[str] = "score of the one that chooses"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a shortlist that is shorter than the budget."""
        if not self.factor >= 1:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the factor of a sequence must be 1 or more, got {self.factor}",
                field="strategy.sequence.factor",
                value=self.factor,
            )

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in both, each for what it is asked for."""
        return replace(
            self,
            shortlist=self.shortlist.resolved(pool, self._length(pool, budget)),
            choice=self.choice.resolved(pool, budget),
        )

    def space(self, pool: Pool) -> Floats | None:
        """Judge likeness as the one that chooses."""
        return self.choice.space(pool)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates."""
        me = self.resolved(pool, budget)
        asked = me._length(pool, min(budget, int(np.count_nonzero(pool.available))))
        listed = me.shortlist.select(
            pool, asked, seed=derived_seed(seed, "shortlist"), checkpoint=checkpoint
        )
        kept = pool.taken
        kept[pool.rows_of(listed.candidates)] = True
        rows = np.flatnonzero(kept)
        chosen = me.choice.select(pool.only(rows), budget, seed=seed, checkpoint=checkpoint)
        names = part_names([me.shortlist, me.choice])
        order = np.argsort(listed.candidates)
        places = order[np.searchsorted(listed.candidates[order], chosen.candidates)]
        return replace(
            _spread(chosen, rows, len(pool)),
            parts={**chosen.parts, names[0]: listed.scores[places], names[1]: chosen.scores},
        )

    def _length(self, pool: Pool, budget: int) -> int:
        return math.ceil(min(self.factor * budget, max(1, len(pool))))


def _spread(chosen: Selection, rows: Rows, count: int) -> Selection:
    """Return a selection from the candidates at `rows` as one from all `count` of the pool."""

    def over(values: NDArray[np.int32]) -> NDArray[np.int32]:
        column = np.full(count, -1, np.int32)
        column[rows] = values
        return column

    distances = np.full(count, np.nan, np.float32)
    distances[rows] = chosen.distances
    return replace(
        chosen, cells=over(chosen.cells), clusters=over(chosen.clusters), distances=distances
    )
