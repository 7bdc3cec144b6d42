"""How far every candidate is from the nearest labelled one, kept from round to round."""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.distances import lower, middle
from parfocal_suggestion.pool import Floats, Pool, Rows

_MOST_BEHIND = 4
"""Distances may lack a quarter of the labels before they are brought up to date."""
_FEW = 256


def labelled_distances(pool: Pool, features: Floats) -> tuple[Floats, Rows]:
    """Squared distances to most of what is labelled, and the rows of which they do not know.

    They are remembered where the pool's features are, and only extended by new labels. What is
    pending is never part of them: it is not labelled yet.

    Args:
        pool: Candidates, N of them.
        features: (N, d) float32, one of its streams.

    Returns:
        (N,) float32, infinite where nothing is labelled, not to be written to; and the rows of
        the labelled and pending candidates that may lie nearer.
    """
    labelled = pool.labelled_rows
    pending = np.setdiff1d(np.flatnonzero(pool.taken), labelled)
    known, squared = _recalled(pool, features, labelled)
    new = np.setdiff1d(labelled, known)
    if len(known) and len(new) <= max(_FEW, len(known) // _MOST_BEHIND):
        return squared, np.concatenate([new, pending])
    squared = squared.copy()
    lower(squared, features, features[new], origin=middle(features))
    pool.memory.remember(features, labelled, squared)
    return squared, pending


def _recalled(pool: Pool, features: Floats, labelled: Rows) -> tuple[Rows, Floats]:
    recalled = pool.memory.distances(features)
    if recalled is not None and np.all(np.isin(recalled[0], labelled)):
        return recalled
    return np.empty(0, np.intp), np.full(len(pool), np.inf, np.float32)
