from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parfocal_suggestion.confidence import by_confidence_and_area, predictors
from parfocal_suggestion.metrics import random_baseline, roi_accuracy
from parfocal_suggestion.propagation import (
    Decided,
    Default,
    by_cell_majority,
    keep_default,
    with_own_labels,
)

CELLS = np.array([0, 0, 0, 0, 1, 1, 2, 2, -1], np.int32)


def bools(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "T" for letter in text])


def test_members_get_the_majority_of_the_representatives() -> None:
    carried = by_cell_majority(CELLS, np.array([0, 1, 2, 4]), bools("FTFF"), default=Default.TRUE)

    assert carried.verdicts.tolist() == bools("FFFFFFTTT").tolist()
    assert carried.decided_by.tolist() == [Decided.CELL] * 6 + [Decided.DEFAULT] * 3


def test_a_tie_keeps_the_default() -> None:
    labelled = np.array([0, 1])
    tied = bools("TF")

    carried = by_cell_majority(CELLS, labelled, tied, default=Default.TRUE)

    assert carried.verdicts.all()
    assert set(carried.decided_by.tolist()) == {Decided.DEFAULT}


def test_the_default_can_be_the_majority_of_the_labels() -> None:
    labelled = np.array([0, 1, 8])

    carried = by_cell_majority(CELLS, labelled, bools("TFF"), default=Default.LABEL_MAJORITY)

    assert not carried.verdicts.any()


@pytest.mark.parametrize(("verdicts", "start"), [("", True), ("TF", True), ("TFF", False)])
def test_the_default_by_majority_is_true_in_doubt(verdicts: str, start: bool) -> None:
    kept = keep_default(2, bools(verdicts), default=Default.LABEL_MAJORITY)

    assert kept.verdicts.tolist() == [start, start]


def test_own_labels_overrule_the_cell() -> None:
    labelled, labels = np.array([0, 1, 2]), bools("TFF")
    carried = by_cell_majority(CELLS, labelled, labels, default=Default.TRUE)

    final = with_own_labels(carried, labelled, labels)

    assert final.verdicts[:4].tolist() == [True, False, False, False]
    assert final.decided_by[:4].tolist() == [Decided.OWN_LABEL] * 3 + [Decided.CELL]
    assert not carried.verdicts[0]


def test_without_any_cell_all_keep_the_default() -> None:
    nowhere = np.full(3, -1, np.int32)

    carried = by_cell_majority(nowhere, np.array([1]), bools("F"), default=Default.TRUE)

    assert carried.verdicts.tolist() == [True] * 3


def data(
    count: int,
) -> tuple[
    np.ndarray[tuple[int, int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.bool_]]
]:
    """Predictors and truth of candidates that are right where the model is sure."""
    rng = np.random.default_rng(0)
    mean = rng.random(count, np.float32)
    area = rng.integers(1, 900, count)
    return predictors(area, mean, np.minimum(1, mean + 0.1)), mean > 0.6


def test_confidence_and_area_find_what_the_model_was_sure_of() -> None:
    features, truth = data(400)
    labelled = np.arange(0, 400, 10)

    carried = by_confidence_and_area(features, labelled, truth[labelled], default=Default.TRUE)

    assert roi_accuracy(carried.verdicts, truth) > 0.9
    assert set(carried.decided_by.tolist()) == {Decided.MODEL}
    assert np.array_equal(carried.verdicts, carried.probabilities >= 0.5)


def test_the_order_of_labels_does_not_matter() -> None:
    features, truth = data(100)
    labelled = np.arange(0, 100, 5)
    shuffled = np.random.default_rng(1).permutation(labelled)

    one, other = (
        by_confidence_and_area(features, rows, truth[rows], default=Default.TRUE)
        for rows in (labelled, shuffled)
    )

    assert one.probabilities.tobytes() == other.probabilities.tobytes()


@pytest.mark.parametrize("verdict", [True, False])
def test_labels_of_one_class_give_that_class_and_say_so(verdict: bool) -> None:
    features, _ = data(10)

    carried = by_confidence_and_area(
        features, np.array([1, 2]), np.array([verdict] * 2), default=Default.TRUE
    )

    assert carried.verdicts.tolist() == [verdict] * 10
    assert np.isnan(carried.probabilities).all()
    assert carried.notes == [
        f"all labels are {verdict}: a model of one class gives every candidate {verdict}"
    ]


def test_no_labels_keep_the_default_and_say_so() -> None:
    features, _ = data(5)

    carried = by_confidence_and_area(
        features, np.empty(0, np.int64), bools(""), default=Default.TRUE
    )

    assert carried.verdicts.all()
    assert "no labels" in carried.notes[0]


def test_a_predictor_without_spread_and_an_empty_area_are_harmless() -> None:
    features = predictors(
        np.zeros(4), np.full(4, 0.5, np.float32), np.array([0, 1, 0, 1], np.float32)
    )

    assert features[:, :2].tolist() == [[0, 0]] * 4
    assert np.isfinite(features).all()


def test_the_random_baseline_is_the_published_one() -> None:
    assert random_baseline(0.762, 446, 10_000) == pytest.approx(0.772615, abs=5e-7)
    assert random_baseline(0.762, 223, 10_000) == pytest.approx(0.7673, abs=5e-5)


@given(p=st.floats(0, 1), labelled=st.integers(0, 50))
def test_the_random_baseline_is_exact(p: float, labelled: int) -> None:
    share = labelled / 50

    assert random_baseline(p, labelled, 50) == pytest.approx(p * (1 - share) + share, abs=1e-9)


def test_the_accuracy_of_nothing_is_not_a_number() -> None:
    assert np.isnan(roi_accuracy(bools(""), bools("")))
    assert np.isnan(random_baseline(0.5, 0, 0))
    assert roi_accuracy(bools("TTF"), bools("TFF")) == pytest.approx(2 / 3)
