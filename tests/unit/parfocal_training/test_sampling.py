from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.box import Box, Triple
from parfocal_training.sampling import Region, Rejection, WindowSampler, augment, window_slices
from training_lab import WINDOW, region_of


def sampler_of(region: Region, **rejection: float) -> WindowSampler:
    return WindowSampler([region], WINDOW, Rejection(**rejection))  # type: ignore[arg-type]


@st.composite
def regions_and_windows(draw: st.DrawFn) -> tuple[Region, Triple]:
    window = draw(st.tuples(*[st.integers(1, 9)] * 3))
    shape = tuple(draw(st.integers(side, side + 12)) for side in window)
    start = tuple(draw(st.integers(0, side - 1)) for side in shape)
    stop = tuple(draw(st.integers(a + 1, side)) for a, side in zip(start, shape, strict=True))
    return region_of(shape, Box(start, stop)), window  # type: ignore[arg-type]


@given(regions_and_windows(), st.integers(0, 2**32), st.floats(0, 0.5))
def test_a_window_lies_in_the_region_and_meets_the_core(
    drawn: tuple[Region, Triple], seed: int, slack: float
) -> None:
    region, window = drawn

    at = window_slices(region, window, slack=slack, rng=np.random.default_rng(seed))

    assert region.image[at].shape == window
    if slack == 0:
        for axis, low, high in zip(at, region.core.start, region.core.stop, strict=True):
            inside = low <= axis.start and axis.stop <= high
            around = axis.start <= low and high <= axis.stop
            assert inside or around or not 0 <= low <= high - (axis.stop - axis.start)


def test_a_region_smaller_than_the_window_is_mirrored_and_not_valid_there() -> None:
    region = region_of((1, 5, 8)).padded(WINDOW)

    assert region.image.shape == WINDOW
    assert region.valid.sum() == 40
    assert region.valid[region.core.slices].all()


def test_what_is_known_outside_the_box_stays_unknown() -> None:
    region = region_of((4, 24, 24), Box((0, 8, 8), (4, 16, 16)))

    batch = sampler_of(region).batch(20, np.random.default_rng(0))

    assert batch.image.shape == (20, 1, *WINDOW)
    assert batch.image.dtype == np.uint8
    assert 0 < batch.valid.mean() < 1


def test_augmentation_moves_image_and_target_together() -> None:
    target = np.zeros((2, 8, 8), dtype=np.uint8)
    target[1, 1:4, 5:7] = 1
    image = target * 200 + 20

    for seed in range(20):
        turned, moved, _ = augment(
            (image, target, np.ones_like(target)), np.random.default_rng(seed)
        )
        assert moved.sum() == target.sum()
        assert turned[moved == 1].min() > turned[moved == 0].max()


def test_windows_that_are_not_square_keep_their_shape() -> None:
    parts = (np.zeros((2, 6, 9), dtype=np.uint8),) * 3

    shapes = {augment(parts, np.random.default_rng(seed))[0].shape for seed in range(20)}

    assert shapes == {(2, 6, 9)}


def test_poor_windows_are_refused_with_the_given_probability() -> None:
    region = region_of((2, 8, 400), foreground=1)
    sampler = sampler_of(region, threshold=1, probability=0.75, trials=1000)

    sampler.batch(400, np.random.default_rng(0))

    counts = sampler.statistics
    assert counts.drawn == 400 + counts.rejected
    assert counts.rejected / counts.drawn == pytest.approx(0.75, abs=0.05)


def test_sampling_never_hangs_where_everything_is_refused() -> None:
    sampler = sampler_of(region_of((2, 8, 8)), threshold=1, probability=1.0, trials=5)

    sampler.batch(3, np.random.default_rng(0))

    assert sampler.statistics.gave_up == 3
    assert sampler.statistics.drawn == 18


def test_the_same_seed_draws_the_same_windows() -> None:
    region = region_of((4, 24, 24), foreground=100)

    first, second = (sampler_of(region).batch(4, np.random.default_rng(7)).image for _ in range(2))

    np.testing.assert_array_equal(first, second)
