"""What may be accepted or rejected without a look, at an error rate that somebody set.

Conformal selection: Y. Jin, E. J. Candes, Selection by Prediction with Conformal p-values, Journal
of Machine Learning Research 24, 2023, here with thresholds that cannot cross one half.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Mask


class Decision(IntEnum):
    """What to do with a candidate."""

    ACCEPT = 1
    REJECT = 2
    LOOK = 3


def decide(
    scores: NDArray[np.float64],
    calibration: NDArray[np.float64],
    verdicts: Mask,
    *,
    error_rate: float,
) -> NDArray[np.uint8]:
    """Say which candidates can be accepted or rejected unseen.

    Of those accepted the expected share that is False is at most `error_rate`, and of those
    rejected the expected share that is True, whatever the scores are worth. That holds for every
    number of labels, on two conditions: the calibration labels are a uniform draw from the
    candidates without a label and themselves, and no score depends on a calibration label. Bad
    scores and few labels cost decisions, not errors: k of m candidates need at least
    m / (k * error_rate) - 1 calibration labels.

    Why: among wrong candidates at or above a threshold, those with and without a label are
    exchangeable, so E[wrong / (1 + wrong labelled)] <= m / (n + 1) for any threshold found by
    tightening from a fixed place until m (1 + wrong labelled) / ((n + 1) accepted) <= error_rate.
    The fixed place is one half: a candidate is never accepted and rejected.

    Args:
        scores: (m,) of the candidates without a label, 0 to 1, higher for True.
        calibration: (n,) of the calibration labels, by the same model.
        verdicts: (n,) the calibration labels.
        error_rate: Wrong share to allow on each side, above 0 and below 1.

    Returns:
        (m,) of `Decision`.
    """
    decisions = np.full(len(scores), Decision.LOOK, np.uint8)
    accepted = _beyond_half(scores, calibration, ~verdicts, error_rate, include_half=True)
    rejected = _beyond_half(1 - scores, 1 - calibration, verdicts, error_rate, include_half=False)
    decisions[accepted] = Decision.ACCEPT
    decisions[rejected] = Decision.REJECT
    return decisions


def _beyond_half(
    scores: NDArray[np.float64],
    calibration: NDArray[np.float64],
    wrong: Mask,
    error_rate: float,
    *,
    include_half: bool,
) -> Mask:
    """(m,) True from the loosest threshold beyond one half whose estimate is low enough."""
    side = scores >= 0.5 if include_half else scores > 0.5
    thresholds, counts = np.unique(scores[side], return_counts=True)
    beyond = np.cumsum(counts[::-1])[::-1]
    wrong_scores = np.sort(calibration[wrong])
    wrong_beyond = len(wrong_scores) - np.searchsorted(wrong_scores, thresholds)
    estimate = len(scores) * (1 + wrong_beyond) / ((len(calibration) + 1) * np.maximum(beyond, 1))
    fine = np.flatnonzero(estimate <= error_rate)
    if not len(fine):
        return np.zeros(len(scores), np.bool_)
    return np.asarray(side & (scores >= thresholds[fine[0]]))
