from __future__ import annotations

import math

import numpy as np
import pytest

from parfocal_bench.curves import Scale, area, foreground_efficiency, labels_to_reach, saving

LABELS, AUC = [10, 20, 40], [0.6, 0.7, 0.8]


def test_areas_are_those_of_the_golden_curve() -> None:
    assert area(LABELS, AUC).value == pytest.approx(0.716667, abs=5e-7)
    assert area(LABELS, AUC, scale=Scale.LOG2).value == pytest.approx(0.7, abs=5e-7)


def test_the_challenge_extends_the_curve_and_takes_chance_for_zero() -> None:
    found = area(LABELS, AUC, scale=Scale.CHALLENGE, all_labels=80)

    octaves = [math.log2(10), 1, 1, 1]
    mean = np.dot(octaves, [0.6, 0.65, 0.75, 0.8]) / math.log2(80)
    assert found.value == pytest.approx((mean - 0.5) / 0.5)
    assert area([1, 100], [1.0, 1.0], scale=Scale.CHALLENGE).value == pytest.approx(1)
    assert area([1, 100], [0.5, 0.5], scale=Scale.CHALLENGE).value == pytest.approx(0)


@pytest.mark.parametrize("scale", Scale)
def test_a_flat_curve_has_its_height_for_area(scale: Scale) -> None:
    found = area([5, 7, 100], [0.8, 0.8, 0.8], scale=scale, chance=0.0)

    assert found.value == pytest.approx(0.8)


def test_what_is_undefined_says_why() -> None:
    assert area([10], [0.7]).reason == "one point spans no area"
    assert area([10, 20], [0.7, math.nan]).reason == "a point of the curve is undefined"


@pytest.mark.parametrize("labels", [[0, 10], [10, 10], [20, 10], []])
def test_label_counts_that_do_not_rise_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"label counts"):
        area(labels, [0.5] * len(labels))


def test_a_saving_is_interpolated_at_the_last_value_of_random() -> None:
    found = saving([10, 20, 40], [0.6, 0.8, 0.9], [10, 20, 40], [0.6, 0.65, 0.7])

    assert found.value == pytest.approx(1 - 15 / 40)


def test_a_curve_that_never_gets_there_saves_an_undefined_share() -> None:
    found = saving([10, 20], [0.6, 0.65], [10, 20], [0.6, 0.7])

    assert math.isnan(found.value)
    assert "never reached" in found.reason


def test_a_target_below_the_first_point_has_no_known_count() -> None:
    found = labels_to_reach(LABELS, AUC, 0.5)

    assert math.isnan(found.value)
    assert "from the first point" in found.reason


def test_foreground_efficiency_finds_the_rate_of_an_exponential() -> None:
    share = np.linspace(0.1, 0.6, 6)
    metric = 0.9 - 0.3 * np.exp(-4.0 * (share - 0.1))

    assert foreground_efficiency(list(share), list(metric), 0.9).value == pytest.approx(4, rel=1e-4)


def test_foreground_efficiency_needs_a_gap_and_foreground() -> None:
    assert foreground_efficiency([0.1, 0.2], [0.9, 0.9], 0.8).reason.startswith("the first point")
    assert foreground_efficiency([0.1, 0.1], [0.7, 0.8], 0.9).reason.startswith("no foreground")
    assert foreground_efficiency([0.1, 0.2], [0.7, 0.8], math.nan).reason.endswith("not measured")
