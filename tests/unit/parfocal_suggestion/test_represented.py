"""The rule for clusters with more than their share of labels, with the right candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parfocal_suggestion.pool import Pool
from parfocal_suggestion.represented import far_from_labelled
from parfocal_suggestion.strategies.two_stream import TwoStream
from suggestion_pools import points

CLUSTERS = np.repeat([0, 1], 50).astype(np.int32)
LABELLED = (3, 8, 21, 60)


def two_clusters(labelled: tuple[int, ...] = LABELLED) -> Pool:
    """A hundred candidates: two kinds of mask, fifty of each."""
    kind = CLUSTERS[:, None].astype(np.float32)
    return Pool.of(
        range(100),
        streams={"mask": 10 * kind, "image": points(100)},
        labelled=labelled,
        verdicts=[True] * len(labelled),
    )


def farthest(pool: Pool, count: int) -> set[int]:
    """The available of cluster 0 that are farthest from its labelled ones."""
    image = pool.stream("image").astype(np.float64)
    known = image[[3, 8, 21]]
    gaps = {
        row: float(np.linalg.norm(known - image[row], axis=1).min())
        for row in range(50)
        if row not in (3, 8, 21)
    }
    return set(sorted(gaps, key=lambda row: -gaps[row])[:count])


def test_a_fifth_is_left_of_a_cluster_with_more_than_its_share() -> None:
    pool = two_clusters()

    kept = np.flatnonzero(far_from_labelled(pool, pool.stream("image"), CLUSTERS, 10))

    assert set(kept[kept < 50].tolist()) == farthest(pool, 10)
    assert kept[kept >= 50].tolist() == [row for row in range(50, 100) if row != 60]


def test_as_many_are_left_as_the_budget_needs() -> None:
    pool = two_clusters()

    kept = np.flatnonzero(far_from_labelled(pool, pool.stream("image"), CLUSTERS, 60))

    assert set(kept[kept < 50].tolist()) == farthest(pool, 30)


@pytest.mark.parametrize("labelled", [(), (3, 60), (3, 8, 60, 61)])
def test_even_labels_leave_all(labelled: tuple[int, ...]) -> None:
    pool = two_clusters(labelled)

    kept = far_from_labelled(pool, pool.stream("image"), CLUSTERS, 10)

    assert kept.tolist() == pool.available.tolist()


def test_two_stream_asks_about_those_and_nobody_else() -> None:
    pool = two_clusters()
    strategy = TwoStream(first_clusters=2, second_clusters=2, queries_per_cell=2)

    plain = strategy.select(pool, 8, seed=0).candidates
    avoiding = replace(strategy, avoid_overrepresented=True).select(pool, 8, seed=0).candidates

    assert set(avoiding[avoiding < 50].tolist()) <= farthest(pool, 10)
    assert not set(plain[plain < 50].tolist()) <= farthest(pool, 10)
    assert avoiding[avoiding >= 50].tolist() == plain[plain >= 50].tolist()
    assert len(avoiding) == 8
