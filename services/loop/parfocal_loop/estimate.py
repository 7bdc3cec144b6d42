"""Accuracy from a random share of the queries, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Estimate:
    """A share with its confidence interval.

    Attributes:
        labels: Observations.
        right: Observations that are right.
        accuracy: The share of right ones; NaN without observations.
        lower: Lower end of the interval; NaN without observations.
        upper: Upper end of the interval; NaN without observations.
        level: Confidence level.
        method: How the interval was made.
        undefined_reason: Why values are NaN; empty where none is.
    """

    labels: int
    right: int
    accuracy: float
    lower: float
    upper: float
    level: float
    method: str = "wilson"
    undefined_reason: str = ""


def wilson(right: int, labels: int, *, level: float) -> Estimate:
    """Estimate a share from `right` of `labels` independent draws.

    The score interval of Wilson (1927): it stays inside [0, 1] and holds its level for few
    draws and shares near the ends. The draws are without replacement from a finite pool, which
    makes the interval a little too wide, never too narrow.
    """
    if labels == 0:
        nan = math.nan
        return Estimate(0, 0, nan, nan, nan, level, undefined_reason="no label in this share")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = right / labels
    spread = z * z / labels
    center = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / labels + spread / (4 * labels)) / (1 + spread)
    # Rounding must not put the share outside of its own interval.
    lower, upper = max(0.0, min(share, center - half)), min(1.0, max(share, center + half))
    return Estimate(labels, right, share, lower, upper, level)
