"""Probabilities of labelled candidates from models that did not see their labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.covariance import Matrix
from parfocal_suggestion.knowledge import Knowledge
from parfocal_suggestion.learned import learn
from parfocal_suggestion.pool import Ids, Mask, Rows


def folds_of(groups: Ids, count: int, *, seed: int) -> NDArray[np.int64]:
    """Deal groups into folds of about equal size: (L,) fold of each label.

    Groups come in random order, each into the fold that has least.

    Args:
        groups: (L,) group of each label; a group is never divided.
        count: Folds; fewer where there are fewer groups.
        seed: Seed of the order.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    load = np.zeros(max(1, min(count, len(sizes))), np.int64)
    fold = np.zeros(len(sizes), np.int64)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        fold[group] = np.argmin(load)
        load[fold[group]] += sizes[group]
    return fold[member]


def held_out(
    known: Knowledge, rows: Rows | Ids, verdicts: Mask, folds: NDArray[np.int64]
) -> Matrix:
    """(L,) probabilities, each from a model of the other folds; NaN where there is no other.

    Args:
        known: What is known of every candidate.
        rows: (L,) labelled candidates, ascending.
        verdicts: (L,) their labels.
        folds: (L,) fold of each label; a negative one is never held out, and NaN.
    """
    found = np.full(len(rows), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        out = folds == fold
        if not np.all(out):
            model = learn(known, rows[~out], verdicts[~out])
            found[out] = model.probabilities(rows[out])
    return found
