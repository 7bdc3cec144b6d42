"""Confidence intervals of shares, of their difference and of their ratio.

What an interval means: if rounds like this one were done again and again, each drawing its
answers anew, it would hold the true value in `level` of them, on average over true values. The
answers count as independent draws. Draws without replacement from a finite pool vary less, which
makes the intervals a little too wide; mistakes of annotators are not in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from parfocal_loop.shares import Share

NO_LABEL = "no label in this share"
NO_ERROR = "no error was found in either share"
NO_RANDOM_ERROR = "the random share found no error, so there is nothing to divide by"

_HALVINGS = 60
_LARGEST_LOGARITHM = 30.0


@dataclass(frozen=True)
class Interval:
    """A measured value with its confidence interval.

    Attributes:
        value: NaN where it is undefined.
        lower: Lower end; NaN where nothing bounds it.
        upper: Upper end; infinite where nothing bounds it from above.
        method: How the interval was made.
        undefined_reason: Why the value is undefined; empty where it is defined.
    """

    value: float
    lower: float
    upper: float
    method: str
    undefined_reason: str = ""

    @classmethod
    def undefined(cls, method: str, reason: str) -> Interval:
        """Return NaN with the reason for it."""
        return cls(math.nan, math.nan, math.nan, method, reason)


def wilson_interval(share: Share, *, level: float) -> Interval:
    """Return a share with the score interval of Wilson (1927).

    It stays inside [0, 1] and holds its level on average over shares, however few the answers. At
    a single share near 0 or 1 it may hold less: of 95 %, 84 % at the worst.
    """
    if not share.labels:
        return Interval.undefined("wilson", NO_LABEL)
    z = _quantile(level)
    spread = z * z / share.effective
    center = (share.value + spread / 2) / (1 + spread)
    variance = share.value * (1 - share.value) / share.effective
    half = z * math.sqrt(variance + spread / (4 * share.effective)) / (1 + spread)
    # Rounding must not put the share outside of its own interval.
    lower, upper = min(share.value, center - half), max(share.value, center + half)
    return Interval(share.value, max(0.0, lower), min(1.0, upper), "wilson")


def difference(first: Share, second: Share, *, level: float) -> Interval:
    """Return `first` minus `second` with the interval of Newcombe (1998), his method 10."""
    a, b = wilson_interval(first, level=level), wilson_interval(second, level=level)
    if a.undefined_reason or b.undefined_reason:
        return Interval.undefined("newcombe", a.undefined_reason or b.undefined_reason)
    value = a.value - b.value
    return Interval(
        value,
        value - math.hypot(a.value - a.lower, b.upper - b.value),
        value + math.hypot(a.upper - a.value, b.value - b.lower),
        "newcombe",
    )


def ratio(first: Share, second: Share, *, level: float) -> Interval:
    """Return `first` over `second` with the score interval of Koopman (1984).

    Where `second` is zero the value is undefined and the interval has no upper end; its lower end
    still says something. Where both are zero nothing is known.
    """
    if not first.labels or not second.labels:
        return Interval.undefined("koopman", NO_LABEL)
    if not first.hits and not second.hits:
        return Interval.undefined("koopman", NO_ERROR)

    def outside(logarithm: float) -> bool:
        return _koopman(first, second, math.exp(logarithm)) > _quantile(level) ** 2

    top = _LARGEST_LOGARITHM
    peak = _logarithm(first.value, second.value)
    return Interval(
        first.value / second.value if second.hits else math.nan,
        math.exp(_edge(outside, peak, -top)) if first.hits else 0.0,
        math.exp(_edge(outside, peak, top)) if second.hits else math.inf,
        "koopman",
        "" if second.hits else NO_RANDOM_ERROR,
    )


def _logarithm(first: float, second: float) -> float:
    if first == 0:
        return -_LARGEST_LOGARITHM
    return _LARGEST_LOGARITHM if second == 0 else math.log(first / second)


def _edge(outside: Callable[[float], bool], within: float, beyond: float) -> float:
    """Return where `outside` becomes true on the way from `within` to `beyond`."""
    for _ in range(_HALVINGS):
        middle = (within + beyond) / 2
        if outside(middle):
            beyond = middle
        else:
            within = middle
    return within


def _koopman(first: Share, second: Share, theta: float) -> float:
    """Squared score statistic of the wish that `first` is `theta` times `second`."""
    m, n = first.effective, second.effective
    x, y = first.value * m, second.value * n
    # The shares that fit best among those of this ratio, from a quadratic equation. The smaller
    # root is taken as product over the larger one, which subtracts nothing from its like.
    half = (theta * (m + y) + x + n) / 2
    root = math.sqrt(max(half * half - theta * (m + n) * (x + y), 0.0))
    p = theta * (x + y) / (half + root)
    q = p / theta
    return _score(x, m, p) + _score(y, n, q)


def _score(hits: float, labels: float, share: float) -> float:
    variance = labels * share * (1 - share)
    deviation = (hits - labels * share) ** 2
    if variance <= 0:
        return 0.0 if deviation < 1e-12 else math.inf
    return deviation / variance


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)
