"""Clusters that have had more than their share of labels, and whom to ask in them all the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.cells import allot
from parfocal_suggestion.distances import nearest
from parfocal_suggestion.pool import Floats, Mask, Pool

KEPT = 0.2
"""Share of the available candidates of such a cluster that may still be asked about."""


def far_from_labelled(
    pool: Pool, features: Floats, clusters: NDArray[np.int32], budget: int
) -> Mask:
    """Available candidates without those near to labels where there are labels enough.

    A cluster has labels enough if it holds more than its even share of all labels. There the fifth
    that is farthest from the labelled candidates of the cluster is kept, and at least as many as
    the cluster's even share of the budget, so that the budget can be met.

    Args:
        pool: Candidates, N of them.
        features: (N, d) features to measure in.
        clusters: (N,) cluster of each candidate, from 0.
        budget: Queries to come.

    Returns:
        (N,) True where a candidate may be asked about.
    """
    kept = pool.available
    free, labelled = np.flatnonzero(kept), pool.labelled_rows
    count = int(clusters.max(initial=-1)) + 1
    sizes = np.bincount(clusters[free], minlength=count)
    labels = np.bincount(clusters[labelled], minlength=count)
    shares = allot(sizes, budget)
    for cluster in np.flatnonzero(labels * count > len(labelled)):
        rows = free[clusters[free] == cluster]
        known = labelled[clusters[labelled] == cluster]
        gaps = nearest(features[rows], features[known])[1]
        most = max(int(shares[cluster]), math.ceil(KEPT * len(rows)))
        kept[rows[np.argsort(-gaps, kind="stable")[most:]]] = False
    return kept
