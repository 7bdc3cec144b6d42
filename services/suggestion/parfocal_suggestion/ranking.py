"""The candidates with the largest scores, as a selection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.selection import Selection
from parfocal_suggestion.smallest import smallest


def best(
    pool: Pool, scores: Floats, budget: int, parts: Mapping[str, Floats] | None = None
) -> Selection:
    """Choose the `min(budget, available)` largest scores, largest first; equals go by id.

    Args:
        pool: Candidates, N of them.
        scores: (N,).
        budget: Picks.
        parts: What the scores are made of, (N,) each.
    """
    free = np.flatnonzero(pool.available)
    return chosen(pool, free[smallest(-scores[free], budget)], scores, parts)


def chosen(
    pool: Pool, rows: Rows, scores: Floats, parts: Mapping[str, Floats] | None = None
) -> Selection:
    """Return the selection of `rows`, in their order, with their scores and parts (N,)."""
    return Selection.without_cells(
        pool,
        pool.candidates[rows],
        scores[rows].astype(np.float32),
        {name: part[rows].astype(np.float32) for name, part in (parts or {}).items()},
    )
