from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parfocal_suggestion import blocks, distances, neighbours
from parfocal_suggestion.distances import squared_norms
from parfocal_suggestion.neighbours import nearest_neighbours

Points = NDArray[np.float32]


def all_pairs(points: Points, k: int) -> list[list[int]]:
    """The k nearest of each point by all distances, equals by row."""
    rows = np.arange(len(points))
    return [np.lexsort((rows, squared_norms(points - point)))[:k].tolist() for point in points]


@pytest.mark.parametrize(("group", "met"), [(3, 5), (8, 1), (256, 2048)])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 80),
    columns=st.integers(1, 5),
    k=st.integers(1, 20),
    on_a_grid=st.booleans(),
    offset=st.sampled_from([0, 1e4]),
)
def test_neighbours_are_those_of_all_pairs(
    group: int, met: int, seed: int, rows: int, columns: int, k: int, on_a_grid: bool, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = (rows, columns)
    made = rng.integers(0, 3, shape) if on_a_grid else rng.normal(size=shape)
    points = (made + offset).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_GROUP", group)
        patch.setattr(neighbours, "_MET", met)

        found, squared = nearest_neighbours(points, k)

    assert found.tolist() == all_pairs(points, k)
    assert (
        squared.tobytes()
        == np.stack(
            [squared_norms(points[near] - point) for near, point in zip(found, points, strict=True)]
        )
        .astype(np.float32)
        .tobytes()
    )


def test_the_number_of_processors_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(blocks, "threads", lambda threads=threads: threads)
        found.append(nearest_neighbours(points, 7)[0])

    assert found[0].tobytes() == found[1].tobytes()


def counted_pairs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by how many pairs are looked at."""
    pairs = []
    compare = distances.lifted_gaps

    def counted(points: Points, others: Points) -> Points:
        pairs.append(len(points) * len(others))
        return compare(points, others)

    monkeypatch.setattr(neighbours, "lifted_gaps", counted)
    return pairs


def test_groups_that_hold_no_neighbour_are_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    clumps = np.repeat(np.arange(40)[:, None] * 100.0, 100, axis=0)
    points = (clumps + rng.normal(size=(4000, 3))).astype(np.float32)
    monkeypatch.setattr(neighbours, "_GROUP", 50)
    monkeypatch.setattr(neighbours, "_MET", 100)
    pairs = counted_pairs(monkeypatch)
    nearest_neighbours(points, 5)

    assert sum(pairs) < 0.2 * 4000 * 4000


def test_two_groups_meet_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(1500, 30)).astype(np.float32)
    monkeypatch.setattr(neighbours, "_MET", 100)
    pairs = counted_pairs(monkeypatch)
    nearest_neighbours(points, 5)

    # Half of all pairs, the inside of groups twice, and a first look around.
    assert sum(pairs) < 0.8 * 1500 * 1500
