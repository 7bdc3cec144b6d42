"""Foreground-aware random: the baseline where most of the pool shows nothing.

C. T. Lueth, J. Traub, K.-C. Kahl, T. J. Bungert, L. Klein, L. Kraemer, P. F. Jaeger, F. Isensee,
K. Maier-Hein, nnActive: A Framework for Evaluation of Active Learning in 3D Biomedical
Segmentation, TMLR 2025 (Random 66 % FG).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import bit_generator
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class ForegroundRandom:
    """Draw a share of the picks from the candidates with foreground, the rest from all others.

    A candidate has foreground if its measure exceeds the threshold. Both draws are uniform and
    without replacement; if too few have foreground, the rest of the pool makes up the number.

    Attributes:
        measure: Name of the measure that says how much foreground a candidate shows.
        threshold: Foreground begins above it.
        share: Share of the picks that is drawn from the foreground, rounded half up.
    """

    measure: str = "foreground"
    threshold: float = 0.0
    share: float = 0.66

    name: ClassVar[str] = "foreground-random"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "uniform draw, a share of it from candidates with foreground"
    reference: ClassVar[str] = "Lueth et al., TMLR 2025"
    score: ClassVar[str] = ""
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
        """Draw `min(budget, available)` candidates, in random order.

        Raises:
            InvalidInput: If there is no such measure, or the share is not 0 to 1
                (`ERROR_REASON_INVALID_FIELD`).
        """
        if not 0 <= self.share <= 1:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the share of the foreground must lie in 0 to 1, got {self.share}",
                field="strategy.foreground_random.share",
                value=self.share,
            )
        foreground = pool.measure(self.measure) > self.threshold
        free = np.flatnonzero(pool.available)
        picks = min(budget, len(free))
        first = bit_generator(seed, f"{self.name} foreground").random_raw(len(free))
        order = np.lexsort((first, ~foreground[free]))
        wanted = math.floor(self.share * picks + 0.5)
        sure = order[: min(wanted, np.count_nonzero(foreground[free]))]
        # Others of their own keys: what the first draw left behind has the larger of its keys.
        second = bit_generator(seed, self.name).random_raw(len(free))
        taken = np.zeros(len(free), np.bool_)
        taken[sure] = True
        drawn = np.lexsort((second, ~taken))[:picks]
        rows = free[drawn[np.argsort(second[drawn], kind="stable")]]
        return Selection.without_cells(
            pool, pool.candidates[rows], np.full(picks, np.nan, np.float32)
        )
