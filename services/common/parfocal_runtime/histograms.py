"""Counts of values between bounds, as Prometheus takes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import Metric


class Histogram:
    """How many values lie between bounds.

    Args:
        bounds: Upper bounds in rising order; a value on a bound lies below it. Above the last one
            there is room for all others.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += times

    def cumulated(self) -> list[tuple[str, int]]:
        """Return each bound as Prometheus writes it, with how many values lie below it."""
        bounds = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        return list(zip(bounds, accumulate(self._counts), strict=True))


def add_histogram(
    metric: Metric, labels: Mapping[str, str], cumulated: Iterable[tuple[str, int]], total: float
) -> None:
    """Put a histogram among the samples of a metric.

    Args:
        metric: The metric.
        labels: What the histogram is of.
        cumulated: As `Histogram.cumulated` returns it.
        total: The sum of all values.
    """
    count = 0
    for bound, count in cumulated:
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{metric.name}_count", dict(labels), count)
    metric.add_sample(f"{metric.name}_sum", dict(labels), total)
