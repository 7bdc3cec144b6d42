from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from parfocal_demo.evaluation import (
    average_precision,
    average_precision_gain,
    block_histograms,
    is_correct,
    profile_coverage,
    random_baseline,
    roc_auc,
    score_segmentation,
)


def histogram(probability: list[int], truth: list[bool]) -> np.ndarray:
    shape = (1, 1, len(truth))
    levels = np.array(probability, np.uint8).reshape(shape)
    counts = block_histograms(levels, np.array(truth, bool).reshape(shape))
    return np.asarray(counts.sum(0))


def test_the_area_under_the_curve_counts_ties_half() -> None:
    counts = histogram([10, 20, 20, 30], [False, False, True, True])

    assert roc_auc(counts) == pytest.approx(3.5 / 4)


def test_average_precision_of_a_worked_case() -> None:
    counts = histogram([90, 80, 70, 60], [True, False, True, False])

    assert average_precision(counts) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@settings(deadline=None)
@given(
    probability=arrays(np.uint8, 60, elements=st.integers(0, 255)),
    truth=arrays(np.bool_, 60).filter(lambda drawn: drawn.any() and not drawn.all()),
)
def test_pixel_scores_agree_with_scikit_learn(probability: np.ndarray, truth: np.ndarray) -> None:
    counts = histogram(probability.tolist(), truth.tolist())

    assert roc_auc(counts) == pytest.approx(roc_auc_score(truth, probability))
    assert average_precision(counts) == pytest.approx(average_precision_score(truth, probability))


def test_scores_of_a_part_without_truth_are_undefined_and_say_why() -> None:
    nothing = np.zeros((2, 64, 64), bool)
    score = score_segmentation(
        np.zeros((2, 64, 64), np.uint8), nothing, proposals=nothing, min_pixels=4
    )

    assert math.isnan(score.roc_auc.value)
    assert score.average_precision.reason == "the part holds no positive pixel"
    assert score.coverage.reason == "no profile of at least 4 pixels in this part"


def test_a_score_lies_inside_its_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 192, 192)) < 0.2
    probability = (truth * 60 + rng.integers(0, 160, truth.shape)).astype(np.uint8)
    score = score_segmentation(probability, truth, proposals=truth, min_pixels=1)

    assert score.average_precision.low < score.average_precision.value
    assert score.average_precision.value < score.average_precision.high
    assert score.coverage.value == 1.0


def test_a_better_map_gains_with_an_interval_above_zero() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((2, 256, 256)) < 0.2
    noise = rng.integers(0, 160, truth.shape)
    worse = block_histograms((truth * 30 + noise).astype(np.uint8), truth)
    better = block_histograms((truth * 90 + noise).astype(np.uint8), truth)

    assert average_precision_gain(worse, better).excludes_zero
    assert average_precision_gain(better, better).value == 0


def test_a_profile_is_covered_by_more_than_half_and_not_by_half() -> None:
    truth = np.zeros((2, 8, 20), bool)
    truth[0, 2, 2:12] = True
    truth[1, 2, 2:12] = True
    truth[1, 7, 0:3] = True
    proposals = np.zeros_like(truth)
    proposals[0, 2, 2:8] = True
    proposals[1, 2, 2:7] = True

    coverage = profile_coverage(truth, proposals, min_pixels=4)

    assert coverage.value == 0.5


def test_profiles_that_touch_by_a_corner_are_one() -> None:
    truth = np.zeros((1, 4, 4), bool)
    truth[0, [0, 1, 2, 3], [0, 1, 2, 3]] = True

    assert profile_coverage(truth, truth, min_pixels=4).value == 1.0


def test_a_proposal_is_correct_above_half_of_the_truth_in_its_box() -> None:
    truth = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    half = np.array([[1, 1, 0, 0], [1, 0, 0, 1]], bool)
    more = np.array([[1, 1, 1, 0], [1, 0, 0, 1]], bool)

    assert not is_correct(half, truth)
    assert is_correct(more, truth)


def test_a_proposal_with_no_truth_in_its_box_is_wrong() -> None:
    assert not is_correct(np.ones((3, 3), bool), np.zeros((3, 3), bool))


def test_the_random_baseline_reproduces_the_paper() -> None:
    assert random_baseline(0.762, labels=446, candidates=10_000) == pytest.approx(
        0.772615, abs=1e-6
    )
