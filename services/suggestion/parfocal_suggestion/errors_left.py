"""How many wrong verdicts remain among the candidates that nobody looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class ErrorsLeft:
    """Wrong verdicts among the candidates without a label.

    Attributes:
        candidates: Candidates without a label that the draw was from.
        checked: Labels of the random share that verdicts were checked by.
        wrong: How many of those were wrong.
        expected: Estimate; NaN where nothing was checked.
        lower: Lower end of the 95 % interval; 0 where nothing was checked.
        upper: Upper end of the interval; all candidates where nothing was checked.
        reason: Why there is no estimate; empty where there is one.
    """

    candidates: int
    checked: int
    wrong: int
    expected: float
    lower: int
    upper: int
    reason: str = ""


def errors_left(*, candidates: int, checked: int, wrong: int) -> ErrorsLeft:
    """Estimate the wrong verdicts from those found in a uniform draw without replacement.

    The interval is exact in the sense of Clopper and Pearson, for the hypergeometric law: it holds
    those numbers of errors for which neither tail of the draw has less than 2.5 %.

    Args:
        candidates: Candidates without a label that the draw was from.
        checked: Size of the draw, from these and itself.
        wrong: Verdicts in the draw that were wrong.
    """
    if not checked:
        reason = "no label of the random share was held out"
        return ErrorsLeft(candidates, 0, 0, math.nan, 0, candidates, reason)
    # Takes half a second to import, which every start would pay.
    from scipy import stats

    tail = (1 - CONFIDENCE) / 2
    total = candidates + checked

    def at_most(left: int) -> float:
        return float(stats.hypergeom.cdf(wrong, total, wrong + left, checked))

    def at_least(left: int) -> float:
        return float(stats.hypergeom.sf(wrong - 1, total, wrong + left, checked))

    # More errors make few in the draw less likely, and many more likely.
    upper = _last(candidates, lambda left: at_most(left) >= tail)
    lower = _last(candidates, lambda left: at_least(left) < tail) + 1
    expected = candidates * wrong / checked
    return ErrorsLeft(
        candidates, checked, wrong, expected, int(np.clip(lower, 0, candidates)), max(upper, 0)
    )


def _last(most: int, holds: Callable[[int], bool]) -> int:
    """Return the last number up to `most` for which it holds, from 0 on; -1 if never."""
    low, high = -1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
