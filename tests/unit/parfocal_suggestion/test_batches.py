"""Strategies that spread a batch, each against a plain version of itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parfocal_suggestion.kmeans import k_means
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.strategies.badge import Badge, likeliest_errors, plus_plus
from parfocal_suggestion.strategies.k_means_centres import KMeansCentres
from parfocal_suggestion.strategies.probcover import ProbCover, greedy_cover, pure_radius
from parfocal_suggestion.strategies.typiclust import TypiClust
from parfocal_suggestion.typicality import mean_distance_to_nearest
from suggestion_pools import points, pool_of


def all_gaps(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    return np.asarray(np.linalg.norm(wide[:, None] - wide[None], axis=2))


def test_k_means_takes_the_one_nearest_to_the_mean_of_each_cluster() -> None:
    pool = pool_of(range(80), labelled=(4, 5))
    features = pool.stream("mask").astype(np.float64)

    selection = KMeansCentres().select(pool, 7, seed=3)

    unlabelled = [i for i in range(80) if i not in (4, 5)]
    for cell, pick in enumerate(selection.candidates):
        members = [i for i in unlabelled if selection.cells[i] == cell]
        middle = features[members].mean(axis=0)
        nearest = min(members, key=lambda i: float(np.linalg.norm(features[i] - middle)))
        assert pick == nearest
    # A point belongs to the nearest of the means, or Lloyd's iteration would have gone on.
    means = np.array(
        [
            features[[i for i in unlabelled if selection.cells[i] == k]].mean(axis=0)
            for k in range(7)
        ]
    )
    to_means = np.linalg.norm(features[:, None] - means, axis=2)
    assert np.mean(to_means.argmin(axis=1) == selection.cells) > 0.97


def test_k_means_leaves_a_cluster_that_is_used_up_to_the_largest() -> None:
    features = np.array([[0.0], [9], [9.1], [9.2], [9.3]], np.float32)
    pool = Pool.of(range(5), streams={"a": features}).with_pending(np.array([0]))

    assert sorted(KMeansCentres().select(pool, 2, seed=0).cells[:2]) == [0, 1]
    assert len(KMeansCentres().select(pool, 2, seed=0).candidates) == 2


def plain_typiclust(
    features: NDArray[np.float32],
    cells: NDArray[np.int32],
    labelled: set[int],
    budget: int,
    *,
    neighbours: int,
    smallest: int,
) -> list[int]:
    """Typicality in every cluster by all distances; clusters chosen anew for each pick."""
    gaps = all_gaps(features)
    typicality = {}
    for i in range(len(features)):
        others = sorted(gaps[i, j] for j in np.flatnonzero(cells == cells[i]) if j != i)
        typicality[i] = 1 / np.mean(others[:neighbours]) if others else 1.0
    done = set(labelled)
    picks: list[int] = []
    while len(picks) < budget:
        open_cells = {int(cell) for i, cell in enumerate(cells) if i not in done}
        cell = min(
            open_cells,
            key=lambda c: (
                np.sum(cells == c) < smallest,
                sum(int(cells[i]) == c for i in done),
                -np.sum(cells == c),
                c,
            ),
        )
        inside = [int(i) for i in np.flatnonzero(cells == cell) if int(i) not in done]
        picks.append(max(inside, key=lambda i: (typicality[i], -i)))
        done.add(picks[-1])
    return picks


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    labelled=st.sets(st.integers(0, 59), max_size=8),
    budget=st.integers(1, 30),
    clusters=st.integers(0, 12),
)
def test_typiclust_picks_what_the_plain_version_picks(
    seed: int, labelled: set[int], budget: int, clusters: int
) -> None:
    features = points(60, seed=seed)
    pool = Pool.of(
        range(60),
        streams={"a": features},
        labelled=sorted(labelled),
        verdicts=[True] * len(labelled),
    )
    strategy = TypiClust(clusters=clusters, neighbours=6, smallest_cluster=4)

    selection = strategy.select(pool, budget, seed=seed)

    assert selection.candidates.tolist() == plain_typiclust(
        features, selection.cells, labelled, budget, neighbours=6, smallest=4
    )


def test_typiclust_has_a_cluster_for_each_label_and_pick_up_to_500() -> None:
    pool = pool_of(range(60), labelled=(1, 2, 3))

    assert TypiClust().resolved(pool, 9).clusters == 12
    assert TypiClust().resolved(pool, 900).clusters == 500


def test_the_mean_distance_is_to_the_nearest_others() -> None:
    features = points(200) + np.float32(1000)

    expected = np.sort(all_gaps(features), axis=1)[:, 1:8].mean(axis=1)

    np.testing.assert_allclose(mean_distance_to_nearest(features, 7), expected, rtol=1e-4)


def plain_cover(
    gaps: NDArray[np.float64], taken: list[int], count: int, radius: float
) -> list[tuple[int, int]]:
    """Greedy cover with a matrix of everything."""
    near = gaps <= radius
    uncovered = ~near[taken].any(axis=0) if taken else np.ones(len(gaps), bool)
    picks: list[tuple[int, int]] = []
    while len(picks) < count and uncovered.any():
        gains = (near & uncovered).sum(axis=1)
        gains[taken + [pick for pick, _ in picks]] = -1
        best = int(gains.argmax())
        picks.append((best, int(gains[best])))
        uncovered &= ~near[best]
    return picks


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    taken=st.sets(st.integers(0, 49), max_size=5),
    radius=st.floats(0.3, 4),
)
def test_the_cover_is_that_of_the_plain_greedy(seed: int, taken: set[int], radius: float) -> None:
    features = points(50, seed=seed, columns=2)
    available = np.ones(50, np.bool_)
    available[sorted(taken)] = False

    rows, covered = greedy_cover(features, available, 12, radius)

    expected = plain_cover(all_gaps(features), sorted(taken), 12, radius)
    assert list(zip(rows.tolist(), covered.tolist(), strict=True)) == expected


@pytest.mark.parametrize("purity", [0.5, 0.9, 0.95])
def test_a_radius_is_the_largest_that_is_pure_for_the_share_asked_for(purity: float) -> None:
    features = points(300, columns=2)
    labels = k_means(features, 4, seed=derived_seed(0, "pure radius"), n_init=1).labels
    gaps = all_gaps(features)

    def pure(radius: float) -> float:
        other = labels[:, None] != labels
        return float(np.mean(~(other & (gaps < radius)).any(axis=1)))

    radius = pure_radius(features, clusters=4, purity=purity)

    assert pure(radius * 0.999) >= purity
    assert pure(radius * 1.1) < purity


def test_a_radius_of_one_cluster_is_its_own_size() -> None:
    features = np.array([[0.0], [2]], np.float32)

    assert pure_radius(features, clusters=1, purity=0.95) == pytest.approx(1)
    assert pure_radius(np.ones((5, 2), np.float32), clusters=3, purity=0.95) == 0


def test_what_is_covered_leaves_the_rest_to_chance() -> None:
    pool = Pool.of(range(20), streams={"a": points(20)})

    drawn = {
        tuple(ProbCover(radius=1e6).select(pool, 5, seed=seed).candidates[1:]) for seed in range(9)
    }
    selection = ProbCover(radius=1e6).select(pool, 5, seed=0)

    assert len(drawn) == 9
    assert selection.scores.tolist() == [20, 0, 0, 0, 0]


def test_a_radius_counts_classes_where_they_are_known() -> None:
    bare = Pool.of(range(30), streams={"a": points(30)})
    known = Pool.of(range(30), streams={"a": points(30)}, probabilities=np.full((30, 4), 0.25))

    assert ProbCover().resolved(bare, 7).clusters == 7
    assert ProbCover().resolved(known, 7).clusters == 4


def test_badge_draws_as_k_means_plus_plus_does_among_whole_gradients() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1, 1, 1], size=12)
    features = rng.normal(size=(12, 4)).astype(np.float32)
    errors = likeliest_errors(chances)
    gradients = (errors[:, :, None] * features[:, None]).reshape(12, -1).astype(np.float64)

    counts = np.zeros(12)
    for draw in rng.random((4000, 2)):
        rows, gaps = plus_plus(errors, features, draw)
        counts[rows[1]] += 1

    first = np.linalg.norm(gradients, axis=1).argmax()
    squared = np.sum((gradients - gradients[first]) ** 2, axis=1)
    assert rows[0] == first
    assert gaps == pytest.approx(
        [np.linalg.norm(gradients[first]), np.sqrt(squared[rows[1]])], rel=1e-5
    )
    np.testing.assert_allclose(counts / 4000, squared / squared.sum(), atol=0.03)


def test_badge_draws_the_rest_uniformly_where_gradients_coincide() -> None:
    pool = Pool.of(
        range(6), streams={"a": np.ones((6, 2), np.float32)}, probabilities=np.full(6, 0.3)
    )

    second = Counter(int(Badge().select(pool, 2, seed=seed).candidates[1]) for seed in range(500))

    # 100 expected of each but the first, binomial sd 9.
    assert set(second) == {1, 2, 3, 4, 5}
    assert max(abs(count - 100) for count in second.values()) < 40


@pytest.mark.parametrize("radius", [1e-300, 1e300])
def test_any_radius_gives_the_budget(radius: float) -> None:
    pool = Pool.of(range(20), streams={"a": points(20)})

    selection = ProbCover(radius=radius).select(pool, 5, seed=0)

    assert len(set(selection.candidates.tolist())) == 5
