"""How unsure class probabilities are, of one prediction and of several views of a candidate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Floats
from parfocal_suggestion.selection import Checkpoint, no_checkpoint

_ENTRIES = 1 << 21


def entropy(probabilities: NDArray[np.floating]) -> Floats:
    """Entropy (...) in nats of class probabilities (..., C)."""
    return np.asarray(_entropy(probabilities), np.float32)


def entropies_of_views(
    views: Floats, *, checkpoint: Checkpoint = no_checkpoint
) -> tuple[Floats, Floats]:
    """Entropy of the mean of the views, and mean entropy of the views, both (N,) in nats.

    Their difference is what the views know of the class between them: the mutual information of
    the prediction and the view.

    Args:
        views: (N, m, C) class probabilities.
        checkpoint: Called once per block of candidates.
    """
    predictive, expected = np.empty((2, len(views)), np.float32)
    step = max(1, _ENTRIES // int(np.prod(views.shape[1:])))
    for start in range(0, len(views), step):
        checkpoint()
        block = views[start : start + step].astype(np.float64)
        mean = _entropy(block).mean(axis=1)
        expected[start : start + step] = mean
        # Concave, so never below; rounding must not say otherwise.
        predictive[start : start + step] = np.maximum(_entropy(block.mean(axis=1)), mean)
    return predictive, expected


def _entropy(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    p = np.asarray(probabilities, np.float64)
    surprise = -np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(np.sum(p * surprise, axis=-1))
