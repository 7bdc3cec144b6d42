from __future__ import annotations

import math

import numpy as np
import pytest

from parfocal_suggestion.reliability import reliability


def test_the_scores_of_four_labels_are_those_by_hand() -> None:
    found = reliability(np.array([0.9, 0.6, 0.2, 0.55]), np.array([True, True, False, False]))

    assert found.labels == 4
    assert found.accuracy == 0.75
    assert found.brier == pytest.approx((0.1**2 + 0.4**2 + 0.2**2 + 0.55**2) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.8, 0.45]).mean())
    assert found.auc == 1.0
    assert found.calibration_error == pytest.approx((0.1 + 0.4 + 0.2 + 0.55) / 4)
    assert not found.undefined


def test_a_bin_holds_a_tenth_and_the_last_one_its_end() -> None:
    found = reliability(np.array([0.0, 0.05, 0.95, 1.0]), np.array([False, True, True, True]))

    assert [each.labels for each in found.bins] == [2, *[0] * 8, 2]
    assert found.bins[0].true_share == 0.5
    assert found.bins[9].mean_probability == pytest.approx(0.975)
    assert math.isnan(found.bins[5].true_share)


def test_equal_probabilities_cannot_rank() -> None:
    assert reliability(np.full(4, 0.5), np.array([True, False, True, False])).auc == 0.5


def test_probabilities_that_are_true_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(100_000)

    found = reliability(chance, rng.random(100_000) < chance)

    assert found.calibration_error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)


def test_labels_without_a_probability_are_left_out() -> None:
    found = reliability(np.array([0.9, np.nan]), np.array([True, False]))

    assert found.labels == 1
    assert found.accuracy == 1.0


def test_labels_of_one_class_rank_nothing_and_say_so() -> None:
    found = reliability(np.array([0.9, 0.8]), np.array([True, True]))

    assert math.isnan(found.auc)
    assert found.undefined == {"auc": "all labels that were held out are True"}


def test_without_labels_nothing_is_known() -> None:
    found = reliability(np.empty(0), np.empty(0, np.bool_))

    assert math.isnan(found.brier)
    assert set(found.undefined) == {"accuracy", "brier", "log_loss", "calibration_error", "auc"}


def test_a_certainty_that_is_wrong_costs_a_finite_loss() -> None:
    assert math.isfinite(reliability(np.array([0.0]), np.array([True])).log_loss)
