from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import suggestion_pools
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.random_share import RandomWeights, draw_by_weight
from parfocal_suggestion.reasons import reasons
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.random_draw import RandomDraw
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.suggest import Role, suggest


def pool_of(count: int, *, labelled: tuple[int, ...] = ()) -> Pool:
    rng = np.random.default_rng(0)
    return Pool.of(
        range(count),
        streams={
            "mask": rng.normal(size=(count, 3)).astype(np.float32),
            "image": rng.normal(size=(count, 4)).astype(np.float32),
        },
        probabilities=rng.random(count),
        labelled=labelled,
        verdicts=[True] * len(labelled),
    )


def test_the_random_share_does_not_depend_on_the_strategy() -> None:
    pool = suggestion_pools.pool_of(range(60), labelled=(1, 2))

    shares = {
        tuple(found.candidates[found.is_random].tolist())
        for make in STRATEGIES.values()
        for found in [suggest(pool, make(), 20, seed=3, random_share=0.25)]
    }

    assert len(shares) == 1
    assert len(shares.pop()) == 5


def test_the_random_share_differs_from_what_the_random_strategy_draws() -> None:
    alone = suggest(pool_of(60), RandomDraw(), 20, seed=3)
    shared = suggest(pool_of(60), RandomDraw(), 20, seed=3, random_share=0.5)

    drawn = shared.candidates[shared.is_random]
    assert drawn.tolist() != alone.candidates[:10].tolist()


def test_the_random_share_is_uniform_over_the_unlabelled() -> None:
    pool = pool_of(12, labelled=(0, 1))

    counts = np.zeros(12)
    for seed in range(500):
        found = suggest(pool, Entropy(), 4, seed=seed, random_share=0.5)
        counts[found.candidates[found.is_random]] += 1

    # 100 expected of each of ten, binomial sd 9.
    assert counts[:2].tolist() == [0, 0]
    assert np.all(np.abs(counts[2:] - 100) < 45)


def test_every_pick_of_the_random_share_keeps_its_chance() -> None:
    pool = pool_of(20, labelled=(0, 1))

    found = suggest(pool, Entropy(), 9, seed=3, random_share=1 / 3)

    assert found.chances[found.is_random].tolist() == [3 / 18] * 3
    assert np.isnan(found.chances[~found.is_random]).all()


def test_a_share_by_foreground_leaves_the_strategy_to_choose_from_the_rest() -> None:
    pool = Pool.of(range(30), probabilities=np.linspace(0.5, 1, 30), measures={"fg": np.arange(30)})
    weights = RandomWeights("fg", 0.9)

    found = suggest(pool, Entropy(), 10, seed=3, random_share=0.4, random_weights=weights)

    drawn = draw_by_weight(pool, 4, seed=3, weights=weights)
    assert found.candidates[found.is_random].tolist() == drawn.candidates.tolist()
    assert found.chances[found.is_random].tolist() == drawn.chances.tolist()
    rest = [each for each in range(30) if each not in set(drawn.candidates.tolist())]
    assert found.candidates[~found.is_random].tolist() == rest[:6]


@given(
    count=st.integers(1, 40),
    budget=st.integers(1, 50),
    share=st.floats(0, 1),
)
def test_shares_add_up_to_the_budget(count: int, budget: int, share: float) -> None:
    found = suggest(pool_of(count), Entropy(), budget, seed=1, random_share=share)

    picks = min(budget, count)
    assert len(found.candidates) == len(set(found.candidates.tolist())) == picks
    assert abs(int(found.is_random.sum()) - share * picks) <= 0.5 + 1e-9


def test_random_picks_are_spread_evenly_through_the_queue() -> None:
    found = suggest(pool_of(60), Entropy(), 12, seed=1, random_share=0.25)

    assert np.flatnonzero(found.is_random).tolist() == [2, 6, 10]
    assert found.roles[2] is Role.RANDOM
    assert np.isnan(found.scores[found.is_random]).all()


def test_the_strategy_knows_that_the_random_picks_will_be_labelled() -> None:
    points = np.array([[0], [0.1], [0.2], [10], [10.1], [10.2]], np.float32)
    pool = Pool.of(range(6), streams={"a": points})

    found = suggest(pool, CoreSet(), 2, seed=0, random_share=0.5)

    far_apart = abs(points[found.candidates[0], 0] - points[found.candidates[1], 0])
    assert far_apart > 9


def test_a_share_of_one_is_all_random() -> None:
    found = suggest(pool_of(30), TwoStream(), 9, seed=1, random_share=1)

    assert found.is_random.all()


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        suggest(pool_of(5), Entropy(), budget, seed=1)

    assert caught.value.reason == "ERROR_REASON_INVALID_BUDGET"


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(share: float) -> None:
    with pytest.raises(InvalidInput, match="random_share"):
        suggest(pool_of(5), Entropy(), 1, seed=1, random_share=share)


def test_a_reason_says_all_that_is_known() -> None:
    pool = pool_of(40, labelled=(7,))
    found = suggest(pool, TwoStream(), 6, seed=9)

    first = json.loads(reasons(pool, found, encoders={"mask": "m-2"}, model="base-3")[0])

    row = int(found.candidates[0])
    gap = np.linalg.norm(pool.stream("image")[row] - pool.stream("image")[7])
    assert pool.probabilities is not None
    chance = float(pool.probabilities[row])
    assert list(first) == [
        "strategy", "version", "seed", "encoders", "model", "role", "score", "cluster",
        "cluster_size", "cell", "cell_size", "distance", "nearest_labelled", "confidence",
    ]  # fmt: skip
    assert first["cell_size"] == np.count_nonzero(found.selection.cells == first["cell"])
    assert first["nearest_labelled"]["candidate"] == 7
    assert first["nearest_labelled"]["distance"] == pytest.approx(gap, rel=1e-5)
    assert first["confidence"] == pytest.approx(max(chance, 1 - chance), rel=1e-5)


def test_a_reason_leaves_out_what_is_not_known() -> None:
    pool = Pool.of(range(9), probabilities=np.linspace(0, 1, 9))
    found = suggest(pool, RandomDraw(), 2, seed=1)

    first = json.loads(reasons(pool, found, encoders={}, model="")[0])

    assert set(first) == {"strategy", "version", "seed", "role", "confidence"}


def test_one_query_of_a_cell_is_the_available_member_nearest_to_the_mean() -> None:
    pool = pool_of(200, labelled=tuple(range(0, 200, 7)))

    strategy = TwoStream(first_clusters=5, second_clusters=2, queries_per_cell=1)
    found = suggest(pool, strategy, 10, seed=1)

    images = pool.stream("image")
    for candidate in found.candidates:
        cell = found.selection.cells[candidate]
        members = np.flatnonzero((found.selection.cells == cell) & pool.available)
        gaps = np.linalg.norm(images[members] - images[members].mean(axis=0), axis=1)
        assert members[gaps.argmin()] == candidate
