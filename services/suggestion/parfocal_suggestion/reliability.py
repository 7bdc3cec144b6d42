"""How far probabilities can be believed, from labels that had no part in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Mask

BINS = 10
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Bin:
    """Labels whose probability fell into one tenth.

    Attributes:
        labels: How many.
        mean_probability: Their mean probability; NaN without any.
        true_share: Share of them that are True; NaN without any.
    """

    labels: int
    mean_probability: float
    true_share: float


@dataclass(frozen=True)
class Reliability:
    """Scores of probabilities against labels.

    Attributes:
        labels: Labels that were compared.
        accuracy: Share whose label is the likelier one.
        brier: Mean squared difference, 0 to 1, lower is better.
        log_loss: Mean negative logarithm (natural) of the label's probability.
        calibration_error: Mean over the labels of how far their bin's mean probability is from its
            share of True. With few labels it is above zero even for perfect probabilities.
        auc: Chance that a True label has a higher probability than a False one.
        bins: The tenths of [0, 1], in order.
        undefined: Why a score is NaN, by its name.
    """

    labels: int
    accuracy: float
    brier: float
    log_loss: float
    calibration_error: float
    auc: float
    bins: tuple[Bin, ...]
    undefined: dict[str, str]


def reliability(probabilities: NDArray[np.float64], verdicts: Mask) -> Reliability:
    """Compare probabilities with labels; what cannot be told is NaN with a reason.

    Args:
        probabilities: (L,) probability of True, from fits that did not see the label; NaN where
            there is none, which leaves the label out.
        verdicts: (L,) the labels.
    """
    known = np.isfinite(probabilities)
    chance, truth = probabilities[known], verdicts[known]
    if not len(truth):
        return unknown("no label was held out")
    undefined = {}
    if np.all(truth == truth[0]):
        undefined["auc"] = f"all labels that were held out are {bool(truth[0])}"
    bins = _bins(chance, truth)
    of_label = np.where(truth, chance, 1 - chance)
    return Reliability(
        labels=len(truth),
        accuracy=float(np.mean((chance >= 0.5) == truth)),
        brier=float(np.mean(np.square(1 - of_label))),
        log_loss=float(-np.mean(np.log(np.maximum(of_label, _SMALLEST)))),
        calibration_error=sum(
            each.labels * abs(each.mean_probability - each.true_share)
            for each in bins
            if each.labels
        )
        / len(truth),
        auc=math.nan if undefined else _auc(chance, truth),
        bins=bins,
        undefined=undefined,
    )


def unknown(reason: str) -> Reliability:
    """Return that nothing can be told, and why."""
    scores = ("accuracy", "brier", "log_loss", "calibration_error", "auc")
    return Reliability(
        labels=0,
        accuracy=math.nan,
        brier=math.nan,
        log_loss=math.nan,
        calibration_error=math.nan,
        auc=math.nan,
        bins=(),
        undefined=dict.fromkeys(scores, reason),
    )


def _bins(chance: NDArray[np.float64], truth: Mask) -> tuple[Bin, ...]:
    place = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    members = (place == each for each in range(BINS))
    return tuple(
        Bin(int(inside.sum()), float(chance[inside].mean()), float(truth[inside].mean()))
        if np.any(inside)
        else Bin(0, math.nan, math.nan)
        for inside in members
    )


def _auc(chance: NDArray[np.float64], truth: Mask) -> float:
    _, place, ties = np.unique(chance, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    positive = int(truth.sum())
    above = float(ranks[truth].sum()) - positive * (positive + 1) / 2
    return above / (positive * (len(truth) - positive))
