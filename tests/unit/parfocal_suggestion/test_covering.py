from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parfocal_suggestion import covering
from parfocal_suggestion.covering import cover_greedily
from parfocal_suggestion.neighbours import nearest_neighbours
from parfocal_suggestion.subvolumes import Windows, grid_starts


def corners(*axes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corners (N, 3) of a full grid."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def test_patches_of_a_volume_end_at_its_border() -> None:
    # G15 of the golden vectors.
    z, y, x = grid_starts(100, 18, 8), grid_starts(1024, 160, 40), grid_starts(1024, 160, 40)

    assert (len(z), len(y), len(x)) == (12, 23, 23)
    assert (z[-1], y[-1], x[-1]) == (82, 864, 864)
    assert len(corners(z, y, x)) == 6348
    assert grid_starts(18, 18, 8).tolist() == [0]


@pytest.mark.parametrize(
    ("k", "last", "chosen", "covered"),
    [
        (3, False, [0, 5, 1], [3, 6, 6]),
        (3, True, [5, 2, 4], [3, 6, 6]),
        (2, False, [0, 3, 2], [2, 4, 5]),
        (2, True, [5, 2, 4], [2, 4, 5]),
    ],
)
def test_golden_picks(k: int, last: bool, chosen: list[int], covered: list[int]) -> None:
    # G5 of the golden vectors.
    features = np.array([[0], [1], [2], [10], [11], [20]], np.float32)
    near, _ = nearest_neighbours(features, k)
    windows = Windows(corners(*map(np.arange, (1, 1, 6))), (1, 1, 1), (1, 1, 1))

    picks, gains = cover_greedily(
        near, windows, np.ones(6, np.bool_), np.zeros(6, np.bool_), 3, last=last
    )

    assert picks.tolist() == chosen
    assert np.cumsum(gains).tolist() == covered


def naively(
    near: NDArray[np.int32],
    windows: Windows,
    admissible: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    count: int,
    *,
    last: bool,
    most_overlap: float,
) -> tuple[list[int], list[int]]:
    """Count every window by sets before every pick."""
    members = windows.members(np.arange(len(admissible)))
    reach = [set(near[patches[patches >= 0]].ravel().tolist()) for patches in members]
    done = set(np.flatnonzero(covered).tolist())
    still = admissible.tolist()
    chosen: list[int] = []
    gains: list[int] = []
    while len(chosen) < count and any(still):
        open_ = [window for window, good in enumerate(still) if good]
        most = max(len(reach[window] - done) for window in open_)
        best = [window for window in open_ if len(reach[window] - done) == most]
        pick = best[-1] if last else best[0]
        chosen.append(pick)
        gains.append(most)
        done |= reach[pick]
        common = windows.overlaps(pick).reshape(-1)
        for window in open_:
            shared = set(members[pick].tolist()) & set(members[window].tolist())
            still[window] = not shared and common[window] <= most_overlap
    return chosen, gains


@pytest.mark.parametrize("at_once", [7, 1 << 20])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sides=st.tuples(*[st.integers(1, 5)] * 3),
    window=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.integers(1, 6),
    k=st.integers(1, 6),
    last=st.booleans(),
    most_overlap=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_picks_are_those_of_counting_all(
    at_once: int,
    seed: int,
    sides: tuple[int, int, int],
    window: tuple[int, int, int],
    stride: int,
    k: int,
    last: bool,
    most_overlap: float,
) -> None:
    rng = np.random.default_rng(seed)
    places = corners(*(np.arange(side) * stride for side in sides))
    places = places[np.append(True, rng.random(len(places) - 1) > 0.1)]
    windows = Windows(places, (3, 4, 5), window)
    features = rng.integers(0, 4, (len(places), 2)).astype(np.float32)
    near, _ = nearest_neighbours(features, k)
    admissible = windows.whole(rng.random(len(places)) > 0.1)
    covered = rng.random(len(places)) > 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covering, "_AT_ONCE", at_once)

        picks, gains = cover_greedily(
            near, windows, admissible, covered, 8, last=last, most_overlap=most_overlap
        )

    assert (picks.tolist(), gains.tolist()) == naively(
        near, windows, admissible, covered, 8, last=last, most_overlap=most_overlap
    )


def test_rows_of_a_grid_that_is_not_square_are_stepped_by_its_width() -> None:
    windows = Windows(corners(*map(np.arange, (6, 10, 20))), (1, 1, 1), (1, 3, 3))

    members = windows.members(np.array([0, 19]))

    assert windows.anchors == (6, 8, 18)
    assert members[0].tolist() == [0, 1, 2, 20, 21, 22, 40, 41, 42]
    assert members[1].tolist() == [21, 22, 23, 41, 42, 43, 61, 62, 63]


def test_a_window_over_the_border_is_none() -> None:
    windows = Windows(corners(*map(np.arange, (1, 2, 2))), (1, 1, 1), (2, 1, 1))

    assert windows.anchors == (0, 2, 2)
    assert windows.whole(np.ones(4, np.bool_)).tolist() == []


def test_sub_volumes_reach_from_the_first_patch_to_the_end_of_the_last() -> None:
    axes = grid_starts(100, 18, 8), grid_starts(1024, 160, 40), grid_starts(1024, 160, 40)
    windows = Windows(corners(*axes), (18, 160, 160), (2, 4, 4))

    # 18 + 8 x 160 + 3 x 40 x 160 + 3 x 40; the last along z starts 2 after the one before.
    assert windows.voxels(0) == 26 * 280 * 280
    assert windows.voxels(int(np.prod(windows.anchors)) - 1) == 20 * 264 * 264
    # Two that are one patch apart along x share all but 40 of 280 columns.
    assert windows.overlaps(0)[0, 0, 1] == pytest.approx(240 / 280)
