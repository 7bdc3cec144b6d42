"""A control for two-stream: the same cells and shares, their members drawn instead of central."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from parfocal_suggestion.pool import Pool
from parfocal_suggestion.seeds import bit_generator
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.strategies.two_stream import TwoStream


@dataclass(frozen=True)
class DrawnTwoStream(TwoStream):
    """Cells as `TwoStream` makes them, and as many queries in each, drawn at random from it.

    What lies nearest to a centre is typical by design. Where labels train a model rather than
    speak for their cell, this tells what the cells are worth without that.
    """

    name: ClassVar[str] = "two-stream-drawn"
    version: ClassVar[str] = f"{TwoStream.version}.1"
    summary: ClassVar[str] = "k-means cells as two-stream, their members drawn at random"

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose as many of each cell as two-stream does."""
        central = super().select(pool, budget, seed=seed, checkpoint=checkpoint)
        keys = bit_generator(seed, self.name).random_raw(len(pool))
        available = pool.available
        rows = pool.rows_of(central.candidates)
        for cell, count in zip(*np.unique(central.cells[rows], return_counts=True), strict=True):
            members = np.flatnonzero(available & (central.cells == cell))
            drawn = members[np.argsort(keys[members], kind="stable")[:count]]
            rows[central.cells[rows] == cell] = drawn
        return replace(central, candidates=pool.candidates[rows])
