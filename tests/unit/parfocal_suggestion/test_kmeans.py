from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_suggestion.kmeans import distances_to, distinct_rows, k_means, restarts


def test_two_clumps_are_found_and_numbered_by_first_point() -> None:
    points = np.array([[9, 9], [0, 0], [9, 8], [0, 1]], np.float32)

    clusters = k_means(points, 2, seed=0, n_init=3)

    assert clusters.labels.tolist() == [0, 1, 0, 1]
    assert clusters.centres.tolist() == [[9, 8.5], [0, 0.5]]


def test_more_clusters_than_points_give_one_each() -> None:
    clusters = k_means(np.array([[1], [2], [3]], np.float32), 10, seed=0, n_init=1)

    assert clusters.labels.tolist() == [0, 1, 2]


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 1.0, 1.0000001, 5.0]), min_size=1, max_size=30),
    k=st.integers(1, 6),
)
def test_no_cluster_is_empty_and_centres_are_means(values: list[float], k: int) -> None:
    points = np.array(values, np.float32)[:, None]

    clusters = k_means(points, k, seed=3, n_init=2)

    assert 1 <= clusters.k <= min(k, len(set(points[:, 0].tolist())))
    assert set(clusters.labels.tolist()) == set(range(clusters.k))
    for label in range(clusters.k):
        mean = points[clusters.labels == label].mean(dtype=np.float64)
        assert clusters.centres[label, 0] == pytest.approx(mean, rel=1e-6)


def test_distinct_rows_are_counted_up_to_a_limit() -> None:
    repeated = np.repeat(np.arange(5, dtype=np.float32), 100)[:, None]

    assert distinct_rows(repeated, at_most=3) == 3
    assert distinct_rows(repeated, at_most=9) == 5


def test_distances_are_to_the_own_centre() -> None:
    points = np.array([[0, 0], [3, 4]], np.float32)

    distances = distances_to(
        points, np.array([[0, 0], [0, 0]], np.float32), np.array([0, 1], np.int32)
    )

    assert distances.tolist() == [0, 5]


def test_small_problems_start_ten_times_and_large_ones_once() -> None:
    assert (restarts(1500, 20), restarts(10**6, 64)) == (10, 1)
