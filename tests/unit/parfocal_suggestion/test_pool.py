from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Pool

POINTS = np.arange(8, dtype=np.float32).reshape(4, 2)


def test_rows_are_sorted_by_id() -> None:
    pool = Pool.of([30, 10, 20, 40], streams={"a": POINTS}, probabilities=[0.3, 0.1, 0.2, 0.4])

    assert pool.candidates.tolist() == [10, 20, 30, 40]
    assert pool.stream("a").tolist() == [[2, 3], [4, 5], [0, 1], [6, 7]]
    assert pool.probabilities is not None
    assert pool.probabilities.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_labels_are_sorted_with_their_verdicts() -> None:
    pool = Pool.of(range(4), labelled=[3, 0], verdicts=[True, False])

    assert pool.labelled.tolist() == [0, 3]
    assert pool.verdicts.tolist() == [False, True]
    assert pool.available.tolist() == [False, True, True, False]


def test_excluded_candidates_are_dropped_with_their_rows() -> None:
    pool = Pool.of(range(4), streams={"a": POINTS}, excluded=[1])

    assert pool.candidates.tolist() == [0, 2, 3]
    assert pool.stream("a").tolist() == [[0, 1], [4, 5], [6, 7]]
    assert pool.excluded.tolist() == [1]


def test_what_is_in_order_is_not_copied() -> None:
    pool = Pool.of(range(4), streams={"a": POINTS})

    assert np.shares_memory(pool.stream("a"), POINTS)


def test_pending_candidates_count_as_unlabelled() -> None:
    pool = Pool.of(range(4)).with_pending(np.array([2]))

    assert pool.unlabelled.tolist() == [True] * 4
    assert pool.available.tolist() == [True, True, False, True]


def test_the_first_stream_answers_to_no_name() -> None:
    pool = Pool.of(range(4), streams={"z": POINTS, "a": POINTS + 1})

    assert pool.stream("").tolist() == POINTS.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e16])
def test_unusable_features_name_their_candidates(bad: float) -> None:
    points = POINTS.astype(np.float64)
    points[[0, 2], 1] = bad

    with pytest.raises(InvalidInput) as caught:
        Pool.of([7, 5, 6, 4], streams={"a": points})

    assert caught.value.reason == "ERROR_REASON_FEATURES_NOT_FINITE"
    assert caught.value.metadata == {"field": "features[a]", "candidates": "6, 7", "count": "2"}


def test_at_most_ten_candidates_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 5 more"):
        Pool.of(range(15), streams={"a": np.full((15, 1), np.nan)})


def test_unusable_features_of_excluded_candidates_do_not_matter() -> None:
    points = POINTS.copy()
    points[1] = np.nan

    pool = Pool.of(range(4), streams={"a": points}, excluded=[1])

    assert len(pool) == 3


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"candidates": [1, 1, 2, 3]}, "candidates"),
        ({"streams": {"a": POINTS[:3]}}, "features[a]"),
        ({"streams": {"a": POINTS[0]}}, "features[a]"),
        ({"streams": {"a": POINTS[:, :0]}}, "features[a]"),
        ({"probabilities": [0.5] * 3}, "probabilities"),
        ({"probabilities": [0.5, 0.5, 0.5, 1.1]}, "probabilities"),
        ({"probabilities": [0.5, 0.5, 0.5, np.nan]}, "probabilities"),
        ({"probabilities": np.full((4, 2, 2), 0.5)}, "probabilities"),
        ({"labelled": [4], "verdicts": [True]}, "labelled"),
        ({"labelled": [1, 1], "verdicts": [True, True]}, "labelled"),
        ({"labelled": [1], "verdicts": []}, "verdicts"),
        ({"labelled": [1], "verdicts": [True], "excluded": [1]}, "labelled"),
        ({"excluded": [9]}, "excluded"),
    ],
)
def test_bad_input_names_its_field(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Pool.of(**{"candidates": range(4), **arguments})

    assert caught.value.metadata["field"] == field


def test_probabilities_of_several_classes_are_taken() -> None:
    pool = Pool.of([1, 0], probabilities=[[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])

    assert pool.probabilities is not None
    assert pool.probabilities[0].tolist() == [1, 0, 0]


VIEWS = np.full((4, 3, 2), 0.5, np.float32)


def test_predictions_and_measures_go_with_their_candidates() -> None:
    views = VIEWS + np.arange(4, dtype=np.float32)[:, None, None] / 10

    pool = Pool.of(
        [30, 10, 20, 40], predictions=views, measures={"size": [3, 1, 2, 4]}, excluded=[20]
    )

    assert pool.views()[:, 0, 0].tolist() == pytest.approx([0.6, 0.5, 0.8])
    assert pool.measure("size").tolist() == [1, 3, 4]


def test_class_probabilities_are_the_mean_of_the_views_where_there_are() -> None:
    views = np.array([[[0.2, 0.8], [0.6, 0.4]]])

    both = Pool.of([0], probabilities=[0.1], predictions=views)
    one = Pool.of([0], probabilities=[0.1])

    np.testing.assert_allclose(both.class_probabilities(), [[0.4, 0.6]])
    np.testing.assert_allclose(one.class_probabilities(), [[0.9, 0.1]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_predictions_that_are_no_chances_name_their_candidates(bad: float) -> None:
    views = VIEWS.copy()
    views[[0, 2], 1, 0] = bad

    with pytest.raises(InvalidInput, match="6, 7"):
        Pool.of([7, 5, 6, 4], predictions=views)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_measures_that_are_no_numbers_name_their_candidates(bad: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        Pool.of([7, 5, 6, 4], measures={"size": [bad, 1, 2, 3]})

    assert caught.value.metadata["candidates"] == "7"
    assert caught.value.metadata["field"] == "measures[size]"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"predictions": VIEWS[0]}, "predictions"),
        ({"predictions": VIEWS[:, :0]}, "predictions"),
        ({"predictions": VIEWS[:, :, :1]}, "predictions"),
        ({"predictions": VIEWS[:3]}, "predictions"),
        ({"measures": {"size": [1, 2, 3]}}, "measures[size]"),
        ({"measures": {"size": POINTS}}, "measures[size]"),
    ],
)
def test_views_and_measures_of_another_shape_are_refused(
    arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Pool.of(range(4), **arguments)

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert caught.value.metadata["field"] == field


def test_what_the_pool_lacks_is_named() -> None:
    pool = Pool.of(range(4), measures={"size": [1, 2, 3, 4]})

    with pytest.raises(InvalidInput, match="several views"):
        pool.views()
    with pytest.raises(InvalidInput, match="probabilities"):
        pool.class_probabilities()
    with pytest.raises(InvalidInput, match="there are \\['size'\\]"):
        pool.measure("weight")
    with pytest.raises(InvalidInput, match="5 views or more"):
        Pool.of(range(4), predictions=VIEWS).views(at_least=5)
