from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_suggestion.cells import allot, complete
from parfocal_suggestion.kmeans import Clusters
from parfocal_suggestion.plan import Plan, plan


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30), budget=st.integers(0, 400))
def test_a_budget_is_shared_evenly_and_the_rest_goes_to_the_largest(
    sizes: list[int], budget: int
) -> None:
    held = np.array(sizes, np.int64)

    shares = allot(held, budget)

    assert shares.sum() == min(budget, held.sum())
    assert np.all((shares >= 0) & (shares <= held))
    unfilled = shares < held
    if unfilled.any():
        level = shares.max()
        assert np.all(shares[unfilled] >= level - 1)
        served, unserved = held[shares == level], held[unfilled & (shares == level - 1)]
        # A cell that was passed over in the last round is not larger than one that was served.
        assert not len(unserved) or unserved.max() <= served.max()


@pytest.mark.parametrize(
    ("sizes", "budget", "shares"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 2, 10], 9, [4, 2, 3]),
        ([1, 20, 1], 9, [1, 7, 1]),
        ([5, 9, 7], 4, [1, 2, 1]),
        ([5, 9, 7], 1, [0, 1, 0]),
        ([2, 2], 9, [2, 2]),
    ],
)
def test_tiny_cells_are_asked_about_whole(sizes: list[int], budget: int, shares: list[int]) -> None:
    assert allot(np.array(sizes), budget).tolist() == shares


def test_points_that_were_not_clustered_join_the_nearest_centre() -> None:
    points = np.array([[0], [10], [9], [1], [4]], np.float32)
    known = np.array([True, True, False, False, False])
    groups = Clusters(labels=np.array([0, 1], np.int32), centres=np.array([[0], [10]], np.float32))

    assert complete(points, known, groups).tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("budget", "given_numbers", "expected"),
    [
        (1, {}, Plan(1, 1, 3)),
        (3, {}, Plan(1, 1, 3)),
        (30, {}, Plan(5, 2, 3)),
        (60, {}, Plan(10, 2, 3)),
        (1280, {}, Plan(64, 4, 5)),
        (640, {"cells_per_cluster": 1}, Plan(128, 1, 5)),
        (1280, {"clusters": 128}, Plan(128, 2, 5)),
        (40, {"queries": 5, "cells_per_cluster": 4}, Plan(2, 4, 5)),
        (5, {"clusters": 10, "cells_per_cluster": 3, "queries": 7}, Plan(10, 3, 7)),
        (2, {"clusters": 50}, Plan(50, 1, 3)),
    ],
)
def test_a_budget_makes_clusters_cells_and_queries(
    budget: int, given_numbers: dict[str, int], expected: Plan
) -> None:
    assert plan(budget, **given_numbers) == expected
