"""Learning curves: the area under one, and what one saves against another.

A curve is two sequences of equal length, label counts that rise strictly and a metric at each.
What is undefined is NaN with its reason, never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from parfocal_demo.intervals import Measure


class Scale(StrEnum):
    """How the area under a learning curve (ALC) is measured; say which beside every number."""

    LINEAR = "linear"
    """Mean height over the label count."""
    LOG2 = "log2"
    """Mean height over the binary logarithm of the label count."""
    CHALLENGE = "challenge"
    """Area over log2 from one label to all, the first value drawn back to one label and the last
    on to all, and normalised so that chance is 0 and a perfect metric is 1."""


def area(
    labels: Sequence[int],
    metric: Sequence[float],
    *,
    scale: Scale = Scale.LINEAR,
    chance: float = 0.5,
    all_labels: int | None = None,
) -> Measure:
    """Return the area under a learning curve (ALC), interpolated linearly on its scale.

    Args:
        labels: (K,) label counts, at least 1, strictly rising.
        metric: (K,) values, best at 1.
        scale: Linear or log2 give the mean height; challenge is the normalised area of the active
            learning challenge (I. Guyon et al., JMLR W&CP 16, 2011).
        chance: The metric of guessing; only for the challenge.
        all_labels: Labels that there are; only for the challenge, by default the last count.

    Raises:
        ValueError: If the curve is not one.
    """
    at, height = _curve(labels, metric)
    if not np.all(np.isfinite(height)):
        return Measure.undefined("a point of the curve is undefined")
    if scale is Scale.CHALLENGE:
        end = float(all_labels or at[-1])
        if end < at[-1] or end <= 1:
            raise ValueError(f"{all_labels} labels in all do not hold a curve up to {at[-1]:g}")
        at = np.concatenate([[1.0], at, [end]])
        height = np.concatenate([height[:1], height, height[-1:]])
    if scale is not Scale.LINEAR:
        at = np.log2(at)
    if at[-1] == at[0]:
        return Measure.undefined("one point spans no area")
    mean = float(np.trapezoid(height, at) / (at[-1] - at[0]))
    return Measure((mean - chance) / (1 - chance) if scale is Scale.CHALLENGE else mean)


def labels_to_reach(labels: Sequence[int], metric: Sequence[float], target: float) -> Measure:
    """Return the label count at which the curve first reaches a target, interpolated linearly."""
    at, height = _curve(labels, metric)
    reached = np.flatnonzero(height >= target)
    if not len(reached):
        return Measure.undefined(f"{target:.4f} is never reached")
    place = int(reached[0])
    if place == 0:
        if height[0] > target:
            return Measure.undefined(f"{target:.4f} is exceeded from the first point on")
        return Measure(float(at[0]))
    share = (target - height[place - 1]) / (height[place] - height[place - 1])
    return Measure(float(at[place - 1] + share * (at[place] - at[place - 1])))


def saving(
    labels: Sequence[int],
    metric: Sequence[float],
    random_labels: Sequence[int],
    random_metric: Sequence[float],
) -> Measure:
    """Return the share of labels saved at the last value of random: 1 - n / n_random.

    Negative where more labels are needed; undefined where the curve never gets there.
    """
    target = float(random_metric[-1])
    ours = labels_to_reach(labels, metric, target)
    if not ours.is_defined:
        return Measure.undefined(f"random's last value: {ours.reason}")
    theirs = labels_to_reach(random_labels, random_metric, target)
    if not theirs.is_defined:
        return Measure.undefined(f"random: {theirs.reason}")
    return Measure(1 - ours.value / theirs.value)


def foreground_efficiency(
    foreground: Sequence[float], metric: Sequence[float], full: float
) -> Measure:
    """Return the rate at which labelled foreground closes the gap to a fully labelled pool.

    It is the γ of `full - (full - m_0) exp(-γ (f - f_0))` fitted by least squares, f being the
    share of all foreground that is labelled (C. Lüth et al., nnActive, TMLR 2025). Larger is
    better; compare it only within one experiment.

    Args:
        foreground: (K,) labelled share of the pool's foreground, not falling.
        metric: (K,) values.
        full: The metric with every label of the pool.
    """
    share, height = np.asarray(foreground, float), np.asarray(metric, float)
    if not np.isfinite(full):
        return Measure.undefined("the metric of a fully labelled pool was not measured")
    if not np.all(np.isfinite(share)):
        return Measure.undefined("there is no foreground")
    gap = full - height[0]
    if gap <= 0:
        return Measure.undefined("the first point is no worse than the fully labelled pool")
    gained = share - share[0]
    if gained[-1] <= 0:
        return Measure.undefined("no foreground was labelled after the first point")
    target = height - height[0]

    def error(log_rate: float) -> float:
        return float(np.sum((gap * -np.expm1(-np.exp(log_rate) * gained) - target) ** 2))

    bounds = (np.log(1e-3 / gained[-1]), np.log(1e3 / gained[-1]))
    fitted = minimize_scalar(error, bounds=bounds, method="bounded")
    return Measure(float(np.exp(fitted.x)))


def _curve(
    labels: Sequence[int], metric: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at, height = np.asarray(labels, float), np.asarray(metric, float)
    if at.ndim != 1 or at.shape != height.shape or not len(at):
        raise ValueError(f"no curve: {len(at)} label counts for {len(height)} values")
    if at[0] < 1 or np.any(np.diff(at) <= 0):
        raise ValueError(f"label counts must rise strictly from at least 1, got {list(labels)}")
    return at, height
