"""Product: what several strategies seek at once, each raised to its strength."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.nesting import Weighted, part_names
from parfocal_suggestion.objectives import Objective, Scoring, by_rank, by_scale
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy


def _default() -> tuple[Weighted, ...]:
    return Weighted(Entropy()), Weighted(CoreSet())


@dataclass(frozen=True)
class Product:
    """Again and again take the candidate with the greatest product of objectives.

    An objective is a part's score, made a number above 0 up to 1 among the candidates that could
    be chosen at the start, and raised to the part's weight. Scores that picks change, such as the
    distance to what is taken, are followed pick by pick. Equals go by id.

    Attributes:
        parts: The objectives and their strengths.
        scaled: Scale scores to 0 (a millionth) to 1 rather than take their ranks.
    """

    parts: tuple[Weighted, ...] = field(default_factory=_default)
    scaled: bool = False

    name: ClassVar[str] = "product"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "largest product of objectives, each raised to its strength"
    reference: ClassVar[str] = ""
    score: ClassVar[str] = "product of the objectives when picked"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parts that score no candidate by itself."""
        for part in self.parts:
            if not isinstance(part.strategy, Scoring):
                raise InvalidInput(
                    "ERROR_REASON_INVALID_FIELD",
                    f"{part.strategy.name} does not score every candidate by itself, and so "
                    "cannot be part of a product",
                    field="strategy.product.parts",
                    value=part.strategy.name,
                )

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in the parts."""
        return replace(
            self,
            parts=tuple(
                replace(part, strategy=part.strategy.resolved(pool, budget)) for part in self.parts
            ),
        )

    def space(self, pool: Pool) -> Floats | None:
        """Judge likeness as the first part that does."""
        spaces = (part.strategy.space(pool) for part in self.parts)
        return next((space for space in spaces if space is not None), None)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, the greatest product first."""
        free = np.flatnonzero(pool.available)
        count = min(budget, len(free))
        if not count:
            return Selection.nothing(pool)
        objectives = [
            _objective(part, pool, derived_seed(seed, "product", index=at))
            for at, part in enumerate(self.parts)
        ]
        names = part_names([part.strategy for part in self.parts])
        # Logarithms of each factor: (parts, free).
        factors = [self._factor(at, one.scores[free]) for at, one in enumerate(objectives)]
        places = np.empty(count, np.intp)
        scores = np.empty(count, np.float32)
        parts = {name: np.empty(count, np.float32) for name in names}
        left = np.ones(len(free), np.bool_)
        for pick in range(count):
            checkpoint()
            total = np.where(left, np.sum(factors, axis=0), -np.inf)
            place = int(np.argmax(total))
            places[pick], scores[pick], left[place] = place, np.exp(total[place]), False
            for at, (name, one) in enumerate(zip(names, objectives, strict=True)):
                parts[name][pick] = one.scores[free[place]]
                if one.take(int(free[place])):
                    factors[at] = self._factor(at, one.scores[free])
        chosen = Selection.without_cells(pool, pool.candidates[free[places]], scores)
        return replace(chosen, parts=parts)

    def _factor(self, at: int, scores: Floats) -> Floats:
        objective = by_scale(scores) if self.scaled else by_rank(scores)
        return np.asarray(self.parts[at].weight * np.log(objective.astype(np.float64)))


def _objective(part: Weighted, pool: Pool, seed: int) -> Objective:
    assert isinstance(part.strategy, Scoring)
    return part.strategy.objective(pool, seed=seed)
