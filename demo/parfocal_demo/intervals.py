"""Numbers that carry their uncertainty, and undefined numbers that carry their reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""Confidence of every interval of the report."""


@dataclass(frozen=True)
class Measure:
    """A measured value with the interval that was measured for it.

    Attributes:
        value: NaN where it is undefined.
        low: Lower end of the 95 % interval; NaN where no interval was measured.
        high: Upper end.
        reason: Why the value is undefined; empty where it is defined.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str) -> Measure:
        """Return NaN with the reason for it."""
        return cls(math.nan, reason=reason)

    @property
    def is_defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of zero: what a claim needs."""
        return self.low > 0 or self.high < 0


def wilson(successes: int, total: int) -> Measure:
    """Return a share with its Wilson score interval."""
    if total <= 0:
        return Measure.undefined("nothing was counted")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    share = successes / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    middle = share + z * z / (2 * total)
    scale = 1 + z * z / total
    return Measure(share, (middle - spread) / scale, (middle + spread) / scale)


def mean_over_seeds(values: Sequence[float]) -> Measure:
    """Return a mean with Student's interval over repetitions; undefined values are left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Measure.undefined("no repetition gave a value")
    mean = float(np.mean(finite))
    if len(finite) < 2:
        return Measure(mean)
    error = float(np.std(finite, ddof=1)) / math.sqrt(len(finite))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(finite) - 1)) * error
    return Measure(mean, mean - reach, mean + reach)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Measure:
    """Return the mean of `first` minus `second`, paired by seed, with Student's interval.

    Raises:
        ValueError: If the two do not pair.
    """
    return mean_over_seeds([a - b for a, b in zip(first, second, strict=True)])
