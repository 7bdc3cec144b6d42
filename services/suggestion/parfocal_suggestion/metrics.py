"""How right a set of verdicts is, and how right it would be without any strategy."""

from __future__ import annotations

import math

import numpy as np

from parfocal_suggestion.pool import Mask


def roi_accuracy(verdicts: Mask, truth: Mask) -> float:
    """Share (0 to 1) of verdicts that equal the truth; NaN without any.

    "ROI accuracy after label propagation" of Z. Lin et al., Two Stream Active Query Suggestion
    for Active Learning in Connectomics, ECCV 2020, section 6.2.

    Args:
        verdicts: (N,) final verdicts.
        truth: (N,) true verdicts.
    """
    return float(np.mean(verdicts == truth)) if len(truth) else math.nan


def random_baseline(accuracy: float, labelled: int, candidates: int) -> float:
    """Accuracy expected when random candidates are corrected one by one: p(1 - s/N) + s/N.

    Args:
        accuracy: Share p of candidates that are right before any label, 0 to 1.
        labelled: Candidates s that were corrected.
        candidates: Candidates N in all; NaN is returned for none.
    """
    if not candidates:
        return math.nan
    share = labelled / candidates
    return accuracy * (1 - share) + share
