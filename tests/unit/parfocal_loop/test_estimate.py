from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_loop.estimate import wilson


def test_the_interval_is_that_of_wilson() -> None:
    estimate = wilson(8, 10, level=0.95)

    # Wilson (1927) for 8 of 10, as printed by statsmodels' proportion_confint.
    assert estimate.accuracy == 0.8
    assert estimate.lower == pytest.approx(0.490162, abs=1e-6)
    assert estimate.upper == pytest.approx(0.943318, abs=1e-6)


def test_no_label_gives_nan_with_a_reason() -> None:
    estimate = wilson(0, 0, level=0.95)

    assert math.isnan(estimate.accuracy)
    assert math.isnan(estimate.lower)
    assert math.isnan(estimate.upper)
    assert estimate.undefined_reason == "no label in this share"


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_holds_the_share_and_stays_a_share(
    labels: int, data: st.DataObject, level: float
) -> None:
    right = data.draw(st.integers(0, labels))

    estimate = wilson(right, labels, level=level)

    assert 0 <= estimate.lower <= estimate.accuracy <= estimate.upper <= 1


@given(st.integers(1, 2000))
def test_a_higher_level_is_a_wider_interval(labels: int) -> None:
    narrow, wide = wilson(labels // 2, labels, level=0.8), wilson(labels // 2, labels, level=0.99)

    assert wide.upper - wide.lower > narrow.upper - narrow.lower
