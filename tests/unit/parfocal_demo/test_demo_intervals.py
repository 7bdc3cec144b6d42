from __future__ import annotations

import math

import pytest

from parfocal_demo.intervals import Measure, mean_over_seeds, paired_difference, wilson


def test_wilson_agrees_with_the_textbook() -> None:
    share = wilson(8, 10)

    assert share.value == 0.8
    assert share.low == pytest.approx(0.4901625)
    assert share.high == pytest.approx(0.9433178)


def test_a_share_of_nothing_is_undefined_and_says_why() -> None:
    share = wilson(0, 0)

    assert math.isnan(share.value)
    assert not share.is_defined
    assert share.reason == "nothing was counted"


def test_the_mean_over_seeds_has_students_interval() -> None:
    mean = mean_over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])

    assert mean.value == 3.0
    assert mean.low == pytest.approx(3 - 2.7764451 * math.sqrt(2.5 / 5))


def test_undefined_repetitions_are_left_out_of_the_mean() -> None:
    assert mean_over_seeds([1.0, math.nan, 3.0]).value == 2.0


def test_one_repetition_has_no_interval_and_supports_no_claim() -> None:
    mean = mean_over_seeds([0.4])

    assert math.isnan(mean.low)
    assert not mean.excludes_zero


def test_a_constant_paired_difference_excludes_zero() -> None:
    difference = paired_difference([0.8, 0.9, 0.7], [0.7, 0.8, 0.6])

    assert difference.value == pytest.approx(0.1)
    assert difference.excludes_zero


def test_an_interval_that_reaches_zero_supports_no_claim() -> None:
    assert not Measure(0.1, 0.0, 0.2).excludes_zero


def test_pairs_must_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([0.1, 0.2], [0.1])
