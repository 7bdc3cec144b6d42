from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.random_share import (
    RandomWeights,
    draw_by_weight,
    inclusion_chances,
    systematic_draw,
)

COUNT = 60
FOREGROUND = np.linspace(0, 1, COUNT) ** 3
WEIGHTS = RandomWeights("foreground", 0.7)
wishes = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40).map(np.array)


def pool_of(foreground: np.ndarray = FOREGROUND, labelled: tuple[int, ...] = ()) -> Pool:
    return Pool.of(
        range(len(foreground)),
        measures={"foreground": foreground},
        labelled=labelled,
        verdicts=[True] * len(labelled),
    )


@given(wishes, st.data())
def test_chances_follow_the_wishes_up_to_one_and_add_up(
    wanted: np.ndarray, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(wanted)))

    chances = inclusion_chances(wanted, count)

    assert chances.sum() == pytest.approx(count)
    assert np.all((chances >= 0) & (chances <= 1))
    below = chances < 1
    if count and below.any():
        ratios = chances[below] / wanted[below]
        assert ratios == pytest.approx(np.full(len(ratios), ratios[0]))
        assert np.all(chances[~below] <= ratios[0] * wanted[~below] * (1 + 1e-6))


@given(wishes, st.data(), st.integers(0, 10))
def test_a_draw_has_as_many_as_were_asked_for_each_once(
    wanted: np.ndarray, data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(0, len(wanted)))

    rows = systematic_draw(inclusion_chances(wanted, count), seed=seed)

    assert len(rows) == len(set(rows.tolist())) == count


def test_candidates_come_as_often_as_their_chances_say() -> None:
    pool, times = pool_of(), 1000

    drawn = np.zeros(COUNT)
    for seed in range(times):
        drawn[draw_by_weight(pool, 12, seed=seed, weights=WEIGHTS).candidates] += 1

    wanted = 0.3 / COUNT + 0.7 * FOREGROUND / FOREGROUND.sum()
    chances = inclusion_chances(wanted, 12)
    error = np.sqrt(chances * (1 - chances) / times)
    assert np.abs((drawn / times - chances) / np.maximum(error, 1e-3)).max() < 4.5


def test_the_beginning_of_a_draw_is_a_draw_too() -> None:
    pool, times = pool_of(), 1000

    first = np.zeros(COUNT)
    for seed in range(times):
        first[draw_by_weight(pool, 12, seed=seed, weights=WEIGHTS).candidates[0]] += 1

    drawn = draw_by_weight(pool, 12, seed=0, weights=WEIGHTS)
    share = inclusion_chances(0.3 / COUNT + 0.7 * FOREGROUND / FOREGROUND.sum(), 12) / 12
    assert drawn.chances == pytest.approx(12 * share[drawn.candidates])
    assert np.abs((first / times - share) / np.sqrt(share / times)).max() < 4.5


@pytest.mark.parametrize("strength", [0.3, 0.7, 0.9])
def test_estimates_are_unbiased_whatever_the_weights(strength: float) -> None:
    random, times = np.random.default_rng(3), 1000
    wrong = random.random(COUNT) < 0.1 + 0.6 * FOREGROUND
    pool, weights = pool_of(), RandomWeights("foreground", strength)

    sums, ratios = np.empty(times), np.empty(times)
    for seed in range(times):
        drawn = draw_by_weight(pool, 20, seed=seed, weights=weights)
        counts = 1 / drawn.chances
        sums[seed] = counts @ wrong[drawn.candidates] / COUNT
        ratios[seed] = sums[seed] * COUNT / counts.sum()

    # Horvitz and Thompson's estimate has no bias, Hajek's one that is small against its error.
    assert abs(sums.mean() - wrong.mean()) < 4 * sums.std() / np.sqrt(times)
    assert abs(ratios.mean() - wrong.mean()) < 0.15 * ratios.std()


def test_a_draw_by_foreground_sees_more_of_it() -> None:
    seen = [
        FOREGROUND[draw_by_weight(pool_of(), 12, seed=seed, weights=WEIGHTS).candidates].mean()
        for seed in range(50)
    ]

    assert np.mean(seen) > 1.5 * FOREGROUND.mean()


def test_what_is_labelled_is_not_drawn_and_the_whole_rest_may_be() -> None:
    pool = pool_of(labelled=(0, 59))

    drawn = draw_by_weight(pool, 58, seed=1, weights=WEIGHTS)

    assert sorted(drawn.candidates.tolist()) == list(range(1, 59))
    assert drawn.chances.tolist() == [1.0] * 58


def test_a_pool_without_foreground_is_drawn_from_evenly() -> None:
    drawn = draw_by_weight(pool_of(np.zeros(40)), 10, seed=1, weights=WEIGHTS)

    assert drawn.chances == pytest.approx(np.full(10, 0.25))


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (
        draw_by_weight(pool_of(), 12, seed=seed, weights=WEIGHTS).candidates.tolist()
        for seed in (1, 1, 2)
    )

    assert first == again != other


@pytest.mark.parametrize("strength", [0, -0.1, 0.91, 1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(InvalidInput, match="strength"):
        RandomWeights("foreground", strength)


def test_a_negative_measure_is_refused_with_its_candidate() -> None:
    foreground = np.ones(5)
    foreground[3] = -1

    with pytest.raises(InvalidInput, match="negative for candidate 3"):
        draw_by_weight(pool_of(foreground), 2, seed=1, weights=WEIGHTS)
