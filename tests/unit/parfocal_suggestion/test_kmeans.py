from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from parfocal_suggestion import blocks
from parfocal_suggestion.kmeans import Clusters, distances_to, distinct_rows, k_means, restarts
from parfocal_suggestion.lloyd import iterate


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


def loose_clumps(rows: int) -> NDArray[np.float32]:
    """Points (rows, 6) in fifty clumps that overlap, in no order."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=2, size=(50, 6))
    return (centres[rng.integers(0, 50, rows)] + rng.normal(size=(rows, 6)) + 100).astype(
        np.float32
    )


def inertia(points: NDArray[np.float32], clusters: Clusters) -> float:
    """Sum of the squared distances to the means."""
    return float(np.sum(distances_to(points, clusters.centres, clusters.labels) ** 2))


@pytest.mark.parametrize(("rows", "k"), [(1500, 20), (70_000, 12)])
def test_clusters_are_as_tight_as_those_of_scikit_learn(rows: int, k: int) -> None:
    points = loose_clumps(rows)
    theirs = min(KMeans(k, n_init=3, random_state=seed).fit(points).inertia_ for seed in range(2))

    ours = k_means(points, k, seed=0, n_init=3)

    assert ours.k == k
    assert inertia(points, ours) <= 1.02 * theirs


def test_the_number_of_processors_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = loose_clumps(70_000)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(blocks, "threads", lambda threads=threads: threads)
        results.append(k_means(points, 9, seed=5, n_init=2))

    assert results[0].labels.tobytes() == results[1].labels.tobytes()
    assert results[0].centres.tobytes() == results[1].centres.tobytes()


def test_a_group_that_lost_its_points_starts_where_one_is_served_worst() -> None:
    points = np.array([[0], [0], [1], [1], [9]], np.float32)
    origin = np.zeros(1, np.float32)

    centres, assignment = iterate(
        points, origin, np.array([[0.5], [0.5], [50]], np.float32), most=10, tolerance=0
    )

    assert sorted(centres[:, 0].tolist()) == [0, 1, 9]
    assert assignment.inertia == 0
