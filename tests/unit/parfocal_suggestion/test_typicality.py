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
    sizes=st.lists(st.integers(2, 60), min_size=1, max_size=3),
    columns=st.sampled_from([1, 3, 40]),
    scale=st.sampled_from([1.0, 1e-8, 1e14]),
    offset=st.sampled_from([0.0, 1e4]),
    first=st.sampled_from([1, 4, 16]),
    tile=st.sampled_from([(3, 7), (8, 8), (256, 1024)]),
    on_a_grid=st.booleans(),
)
def test_the_first_of_a_group_is_the_first_of_all_its_members(
    entries: int,
    seed: int,
    sizes: list[int],
    columns: int,
    scale: float,
    offset: float,
    first: int,
    tile: tuple[int, int],
    on_a_grid: bool,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (sum(sizes), columns)
    made = rng.integers(0, 3, shape) if on_a_grid else rng.normal(size=shape)
    points = (made * scale + offset).astype(np.float32)
    groups = np.split(rng.permutation(len(points)), np.cumsum(sizes)[:-1])
    groups = [np.sort(group) for group in groups]
    among = rng.random(len(points)) > 0.3
    among[[rng.choice(group) for group in groups]] = True
    count = int(rng.integers(1, 21))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typicality, "_ENTRIES", entries)
        patch.setattr(typicality, "_FIRST", first)
        patch.setattr(typicality, "_TILE", tile)

        found = smallest_mean_distances(points, groups, count, among, floor=FLOOR)

    for group, (rows, means) in zip(groups, found, strict=True):
        everyone = mean_distance_to_nearest(points[group], min(count, len(group) - 1))
        # Of neighbours that a product cannot tell apart another may count, a rounding away.
        np.testing.assert_allclose(means, everyone[np.isin(group, rows)], rtol=1e-5)
        assert among[rows].all()
        counted = np.where(among[group], np.maximum(everyone, FLOOR), np.inf)
        best = rows[np.argmin(np.maximum(means, FLOOR))]
        assert counted[np.searchsorted(group, best)] <= counted.min() * (1 + 1e-5)


def test_few_are_looked_at_closely() -> None:
    points = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    everyone = np.ones(500, np.bool_)

    ((found, _),) = smallest_mean_distances(points, [np.arange(500)], 20, everyone, floor=FLOOR)

    assert len(found) < 100
