"""The most typical candidate is found without ranking the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_suggestion import typicality
from parfocal_suggestion.typicality import mean_distance_to_nearest, smallest_mean_distances

FLOOR = 1e-7


@pytest.mark.parametrize("entries", [1, 200, 1 << 22])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(2, 60),
    columns=st.sampled_from([1, 3, 40]),
    scale=st.sampled_from([1.0, 1e-8, 1e14]),
    offset=st.sampled_from([0.0, 1e4]),
    first=st.sampled_from([1, 4, 32]),
    on_a_grid=st.booleans(),
)
def test_the_first_is_the_first_of_all(
    entries: int,
    seed: int,
    rows: int,
    columns: int,
    scale: float,
    offset: float,
    first: int,
    on_a_grid: bool,
) -> None:
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 3, (rows, columns)) if on_a_grid else rng.normal(size=(rows, columns))
    points = (made * scale + offset).astype(np.float32)
    among = rng.random(rows) > 0.3
    among[rng.integers(rows)] = True
    count = int(rng.integers(1, min(rows, 21)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typicality, "_ENTRIES", entries)
        patch.setattr(typicality, "_BLOCK_ENTRIES", entries)
        patch.setattr(typicality, "_FIRST", first)

        found, means = smallest_mean_distances(points, count, among, floor=FLOOR)
        everyone = mean_distance_to_nearest(points, count)

    assert means.tobytes() == everyone[found].tobytes()
    assert among[found].all()
    counted = np.where(among, np.maximum(everyone, FLOOR), np.inf)
    best = found[np.argmin(np.maximum(means, FLOOR))]
    assert best == np.argmin(counted)


def test_few_are_looked_at_closely() -> None:
    points = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)

    found, _ = smallest_mean_distances(points, 20, np.ones(500, np.bool_), floor=FLOOR)

    assert len(found) < 10
