"""Accuracy from a share of the queries, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_loop.intervals import wilson_interval
from parfocal_loop.shares import Share


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
        effective_labels: Observations of equal weight that would tell as much.
        method: How the interval was made.
        undefined_reason: Why values are NaN; empty where none is.
    """

    labels: int
    right: int
    accuracy: float
    lower: float
    upper: float
    level: float
    effective_labels: float
    method: str
    undefined_reason: str = ""


def estimate_of(right: Share, *, level: float) -> Estimate:
    """Return the estimate from the share of right answers."""
    interval = wilson_interval(right, level=level)
    return Estimate(
        labels=right.labels,
        right=right.hits,
        accuracy=interval.value,
        lower=interval.lower,
        upper=interval.upper,
        level=level,
        effective_labels=right.effective,
        method=interval.method,
        undefined_reason=interval.undefined_reason,
    )


def wilson(right: int, labels: int, *, level: float) -> Estimate:
    """Estimate a share from `right` of `labels` independent draws."""
    return estimate_of(Share.of_counts(right, labels), level=level)
