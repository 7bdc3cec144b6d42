from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.constraints import UNCONSTRAINED, Constraints, GroupLimit
from parfocal_suggestion.nesting import Weighted
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.strategies.coverage import Coverage
from parfocal_suggestion.strategies.shares import Shares
from parfocal_suggestion.suggest import suggest

LINE = np.array([[0], [1], [2], [10], [11], [20]], np.float32)


def grid(sides: tuple[int, int, int], **lists: list[int]) -> Pool:
    """Patches on a grid, eight voxels apart, with features in one column that rise along x."""
    places = np.stack(np.unravel_index(np.arange(np.prod(sides)), sides), axis=1)
    return Pool.of(
        np.arange(len(places)),
        streams={"a": places @ np.array([[0.01], [0.1], [1]])},
        measures={axis: 8 * places[:, at] for at, axis in enumerate("zyx")},
        labelled=lists.get("labelled", []),
        verdicts=[True] * len(lists.get("labelled", [])),
        excluded=lists.get("excluded", []),
    )


ON_GRID = Coverage(z_measure="z", y_measure="y", x_measure="x", neighbours=3)


@pytest.mark.parametrize(("last", "chosen"), [(False, [0, 5, 1]), (True, [5, 2, 4])])
def test_golden_picks_and_what_they_cover(last: bool, chosen: list[int]) -> None:
    pool = Pool.of(range(6), streams={"a": LINE})

    selection = Coverage(neighbours=3, last_of_equals=last).select(pool, 3, seed=0)

    assert selection.candidates.tolist() == chosen
    assert np.cumsum(selection.scores).tolist() == [3, 6, 6]


def test_labelled_patches_cover_from_the_start() -> None:
    pool = Pool.of(range(6), streams={"a": LINE}, labelled=[0], verdicts=[True])

    selection = Coverage(neighbours=3).select(pool, 1, seed=0)

    assert selection.candidates.tolist() == [5]


def test_directions_only() -> None:
    points = np.array([[1, 0], [100, 1], [0, 1], [1, 100]], np.float32)
    pool = Pool.of(range(4), streams={"a": points})

    selection = Coverage(neighbours=2, normalise=True).select(pool, 2, seed=0)

    assert selection.candidates.tolist() == [0, 2]
    assert selection.scores.tolist() == [2, 2]


def test_windows_avoid_what_is_excluded_or_labelled() -> None:
    pool = grid((1, 2, 5), excluded=[1], labelled=[9])

    selection = replace(ON_GRID, window_y=2, window_x=2).select(pool, 9, seed=0)

    # Of the four windows only the one over columns 2 and 3 is free.
    assert selection.candidates.tolist() == [2]


def test_no_free_window_is_told() -> None:
    with pytest.raises(InvalidInput, match="no window of free patches"):
        replace(ON_GRID, window_z=3).select(grid((2, 2, 2)), 1, seed=0)


def test_a_window_longer_than_the_grid_costs_nothing() -> None:
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="no window of free patches"):
        replace(ON_GRID, window_x=10_000_000).select(grid((1, 1, 50)), 1, seed=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10 << 20


def test_nothing_is_chosen_where_every_window_will_be_looked_at() -> None:
    pool = grid((1, 1, 3)).with_pending(np.array([1]))

    selection = replace(ON_GRID, window_x=2).select(pool, 1, seed=0)

    assert not len(selection.candidates)


ONE_OF_EACH = Constraints(groups=(GroupLimit(("row",), 1),))
REMEMBERING = [
    {"window_x": 2},
    {"most_overlap": 0.5},
    {"most_voxels": 9},
    {"most_minutes": 1.0, "voxels_per_minute": 9.0},
]


@pytest.mark.parametrize("changes", REMEMBERING, ids=lambda changes: next(iter(changes)))
@pytest.mark.parametrize("nested", [True, False], ids=["inside of shares", "under constraints"])
def test_what_has_to_remember_its_windows_is_not_asked_twice(
    changes: dict[str, Any], nested: bool
) -> None:
    pool = replace(grid((1, 4, 5)), groups={"row": np.arange(20) // 5})
    coverage = replace(ON_GRID, **changes)
    strategy = Shares((Weighted(coverage), Weighted(coverage))) if nested else coverage

    with pytest.raises(InvalidInput) as refused:
        suggest(pool, strategy, 4, seed=0, constraints=UNCONSTRAINED if nested else ONE_OF_EACH)

    field = next(iter(changes))
    assert refused.value.metadata["field"] == f"strategy.{field}"
    assert "inside of shares" in str(refused.value) or "under constraints" in str(refused.value)


def test_windows_of_one_patch_obey_constraints_and_share() -> None:
    pool = replace(grid((1, 4, 5)), groups={"row": np.arange(20) // 5})
    both = Shares((Weighted(ON_GRID), Weighted(ON_GRID)))

    alone = suggest(pool, ON_GRID, 9, seed=0, constraints=ONE_OF_EACH).candidates
    shared = suggest(pool, both, 9, seed=0, constraints=ONE_OF_EACH).candidates

    assert sorted(alone // 5) == sorted(shared // 5) == [0, 1, 2, 3]


def test_fewer_windows_than_the_budget_are_what_there_is() -> None:
    selection = replace(ON_GRID, window_x=3).select(grid((1, 2, 5)), 9, seed=0)

    assert sorted(candidate // 5 for candidate in selection.candidates) == [0, 1]


@pytest.mark.parametrize(
    ("limited", "windows"),
    [
        (replace(ON_GRID, most_voxels=3 * 10**3), 3),
        (replace(ON_GRID, most_minutes=2.5, voxels_per_minute=1000), 2),
    ],
)
def test_a_budget_in_voxels_or_minutes(limited: Coverage, windows: int) -> None:
    patches = replace(limited, patch_z=10, patch_y=10, patch_x=10)

    selection = patches.select(grid((1, 2, 5)), 9, seed=0)

    assert len(selection.candidates) == windows


def test_minutes_times_a_speed_are_not_rounded_down() -> None:
    # 0.29 x 100 is a little less than 29 in floating point.
    limited = replace(ON_GRID, most_minutes=0.29, voxels_per_minute=100)

    selection = limited.select(grid((1, 6, 6)), 36, seed=0)

    assert len(selection.candidates) == 29


def test_minutes_need_a_speed() -> None:
    with pytest.raises(InvalidInput, match="needs voxels_per_minute"):
        Coverage(most_minutes=3).select(grid((1, 1, 3)), 1, seed=0)


def test_sub_volumes_share_no_more_voxels_than_allowed() -> None:
    # Patches of 16 voxels start every 8: neighbours share half of their voxels.
    wide = replace(ON_GRID, patch_x=16)

    apart = replace(wide, most_overlap=0.4).select(grid((1, 1, 6)), 6, seed=0)
    together = replace(wide, most_overlap=0.5).select(grid((1, 1, 6)), 6, seed=0)

    assert np.all(np.diff(np.sort(apart.candidates)) > 1)
    assert len(together.candidates) == 6


@pytest.mark.parametrize(
    ("x", "fault"), [([0, 8, 8], "same voxel"), ([0, 8, 16], "no feature|no measure")]
)
def test_positions_that_make_no_grid_are_refused(x: list[int], fault: str) -> None:
    pool = Pool.of(range(3), streams={"a": LINE[:3]}, measures={"x": x})
    strategy = Coverage(x_measure="x" if "voxel" in fault else "other")

    with pytest.raises(InvalidInput, match=fault):
        strategy.select(pool, 1, seed=0)


def test_scattered_positions_are_no_grid() -> None:
    places = np.random.default_rng(0).permuted(np.tile(np.arange(99), (3, 1)), axis=1)
    pool = Pool.of(
        range(99),
        streams={"a": np.arange(99)[:, None]},
        measures=dict(zip("zyx", places, strict=True)),
    )

    with pytest.raises(InvalidInput, match="make no grid"):
        ON_GRID.select(pool, 1, seed=0)
