from __future__ import annotations

import math
from collections.abc import Callable
from math import comb

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_loop.intervals import (
    NO_ERROR,
    NO_LABEL,
    NO_RANDOM_ERROR,
    Interval,
    difference,
    ratio,
    wilson_interval,
)
from parfocal_loop.shares import Share

LEVEL = 0.95
NOTHING = Share.of_counts(0, 0)
Between = Callable[[Share, Share], Interval]
counts = st.integers(1, 300).flatmap(
    lambda labels: st.builds(Share.of_counts, st.integers(0, labels), st.just(labels))
)


def chances(labels: int, rate: float) -> npt.NDArray[np.float64]:
    """Chance of each number of hits."""
    return np.array(
        [comb(labels, k) * rate**k * (1 - rate) ** (labels - k) for k in range(labels + 1)]
    )


def coverage(
    between: Between, sizes: tuple[int, int], rates: tuple[float, float], truth: float
) -> float:
    """Chance that the interval holds the truth, over all tables there can be."""
    (m, n), (p, q) = sizes, rates
    table = np.outer(chances(m, p), chances(n, q))
    held = 0.0
    for x, y in np.argwhere(table > 1e-7).tolist():
        interval = between(Share.of_counts(x, m), Share.of_counts(y, n))
        # An interval that says nothing excludes nothing.
        held += table[x, y] * (
            math.isnan(interval.lower) or interval.lower <= truth <= interval.upper
        )
    return held


def subtract(first: Share, second: Share) -> Interval:
    return difference(first, second, level=LEVEL)


def divide(first: Share, second: Share) -> Interval:
    return ratio(first, second, level=LEVEL)


def test_the_difference_has_the_interval_of_newcombe() -> None:
    # Newcombe (1998), example (a), method 10.
    interval = subtract(Share.of_counts(56, 70), Share.of_counts(48, 80))

    assert interval.value == pytest.approx(0.2)
    assert (interval.lower, interval.upper) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_ratio_has_the_interval_of_koopman() -> None:
    # Koopman (1984), his example.
    interval = divide(Share.of_counts(36, 40), Share.of_counts(16, 80))

    assert interval.value == pytest.approx(4.5)
    assert (interval.lower, interval.upper) == pytest.approx((2.94, 7.15), abs=5e-3)


@pytest.mark.parametrize("sizes", [(32, 8), (80, 20), (20, 20)])
@pytest.mark.parametrize("rates", [(0.5, 0.3), (0.3, 0.1), (0.1, 0.1), (0.2, 0.05), (0.9, 0.7)])
def test_intervals_hold_the_truth_as_often_as_they_say(
    sizes: tuple[int, int], rates: tuple[float, float]
) -> None:
    assert coverage(subtract, sizes, rates, rates[0] - rates[1]) >= 0.94
    assert coverage(divide, sizes, rates, rates[0] / rates[1]) >= 0.935


@pytest.mark.parametrize("labels", [8, 20, 100])
def test_the_interval_of_a_share_holds_it_as_often_as_it_says(labels: int) -> None:
    rates = np.linspace(0.005, 0.995, 199)
    intervals = [
        wilson_interval(Share.of_counts(hits, labels), level=LEVEL) for hits in range(labels + 1)
    ]
    lower, upper = np.array([(one.lower, one.upper) for one in intervals]).T

    held = [chances(labels, rate) @ ((lower <= rate) & (rate <= upper)) for rate in rates]

    assert 0.945 <= np.mean(held) <= 0.965
    assert min(held) >= 0.83


@given(counts, counts)
def test_values_lie_in_their_intervals(first: Share, second: Share) -> None:
    for interval in (subtract(first, second), divide(first, second)):
        if not interval.undefined_reason:
            slack = 1e-9 * max(1.0, interval.value)
            assert interval.lower - slack <= interval.value <= interval.upper + slack


@given(counts, counts)
def test_the_difference_the_other_way_round_is_the_negative(first: Share, second: Share) -> None:
    there, back = subtract(first, second), subtract(second, first)

    assert (-there.upper, -there.lower) == pytest.approx((back.lower, back.upper), abs=1e-12)


@given(counts, counts)
def test_the_ratio_the_other_way_round_is_the_inverse(first: Share, second: Share) -> None:
    there, back = divide(first, second), divide(second, first)

    if first.hits and second.hits:
        assert (1 / there.upper, 1 / there.lower) == pytest.approx(
            (back.lower, back.upper), rel=1e-6
        )


def test_without_answers_nothing_is_known() -> None:
    for interval in (
        subtract(NOTHING, Share.of_counts(1, 2)),
        divide(Share.of_counts(1, 2), NOTHING),
        wilson_interval(NOTHING, level=LEVEL),
    ):
        assert interval.undefined_reason == NO_LABEL
        assert all(map(math.isnan, (interval.value, interval.lower, interval.upper)))


def test_where_random_found_no_error_only_the_lower_end_is_known() -> None:
    interval = divide(Share.of_counts(5, 10), Share.of_counts(0, 10))

    assert math.isnan(interval.value)
    assert interval.undefined_reason == NO_RANDOM_ERROR
    assert interval.lower > 1
    assert interval.upper == math.inf


def test_where_nobody_found_an_error_the_ratio_is_unknown() -> None:
    interval = divide(Share.of_counts(0, 10), Share.of_counts(0, 10))

    assert interval.undefined_reason == NO_ERROR
    assert math.isnan(interval.lower)
    assert subtract(Share.of_counts(0, 10), Share.of_counts(0, 10)).value == 0


def test_more_answers_make_narrower_intervals() -> None:
    few = divide(Share.of_counts(6, 12), Share.of_counts(3, 12))
    many = divide(Share.of_counts(60, 120), Share.of_counts(30, 120))

    assert few.lower < many.lower < 2 < many.upper < few.upper
