from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.convert_strategy import strategy_from_pb, strategy_to_pb
from parfocal_suggestion.nesting import Weighted, inner_strategies, parameters_of, part_names
from parfocal_suggestion.objectives import Spread, by_rank, by_scale
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.reasons import reasons
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies import strategy_of
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.late_fusion import LateFusion
from parfocal_suggestion.strategies.product import Product
from parfocal_suggestion.strategies.random_draw import RandomDraw
from parfocal_suggestion.strategies.sequence import Sequence
from parfocal_suggestion.strategies.shares import Shares, shared
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.strategies.typiclust import TypiClust
from parfocal_suggestion.suggest import suggest

NESTED = Shares(
    (
        Weighted(Sequence(Product(), TwoStream(first_clusters=2), 3), 2.0),
        Weighted(RandomDraw()),
        Weighted(Product((Weighted(CoreSet("image"), 0.5), Weighted(CoreSet("mask"))), True)),
    )
)


def pool_of(count: int = 60, *, labelled: tuple[int, ...] = (2, 9)) -> Pool:
    """Points no two of which are equally far from a third, so that rounding decides nothing."""
    rng = np.random.default_rng(0)
    return Pool.of(
        range(count),
        streams={name: rng.normal(size=(count, 4)) for name in ("mask", "image")},
        probabilities=rng.random(count),
        labelled=labelled,
        verdicts=[True] * len(labelled),
    )


def picks(strategy: Strategy, pool: Pool, budget: int) -> list[int]:
    return [int(pick) for pick in strategy.select(pool, budget, seed=3).candidates]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("part", [Entropy(), CoreSet()], ids=["entropy", "core-set"])
def test_a_product_of_one_chooses_as_that_one(part: Strategy, scaled: bool) -> None:
    pool = pool_of()

    assert picks(Product((Weighted(part),), scaled), pool, 15) == picks(part, pool, 15)


def test_a_product_is_the_plain_product_of_ranks_pick_by_pick() -> None:
    pool = pool_of()
    features = pool.stream("mask").astype(np.float64)
    entropies = Entropy().objective(pool, seed=0).scores
    free, taken, expected = pool.available, [2, 9], []
    for _ in range(10):
        gaps = np.linalg.norm(features[:, None] - features[taken], axis=2).min(axis=1)
        product = by_rank(entropies[free]) ** 2 * by_rank(gaps[free].astype(np.float32))
        rows = np.flatnonzero(free)
        product[np.isin(rows, taken)] = -1
        taken.append(int(rows[np.argmax(product)]))
        expected.append(taken[-1])

    chosen = Product((Weighted(Entropy(), 2.0), Weighted(CoreSet()))).select(pool, 10, seed=0)

    assert chosen.candidates.tolist() == expected
    np.testing.assert_array_equal(chosen.parts["entropy"], entropies[chosen.candidates])


def test_a_strength_of_nearly_nothing_leaves_the_other_to_choose() -> None:
    pool = pool_of()

    chosen = picks(Product((Weighted(Entropy()), Weighted(CoreSet(), 1e-6))), pool, 12)

    assert chosen == picks(Entropy(), pool, 12)


@pytest.mark.parametrize("part", [RandomDraw(), LateFusion(), TwoStream(), Shares()])
def test_what_scores_no_candidate_by_itself_is_no_part_of_a_product(part: Strategy) -> None:
    with pytest.raises(InvalidInput, match=f"{part.name} does not score every candidate"):
        Product((Weighted(part),))


def test_a_sequence_chooses_from_the_shortlist_and_sees_nothing_else() -> None:
    pool = pool_of()
    shortlist = picks(Entropy(), pool, 20)
    alone = pool.only(np.array(sorted({*shortlist, 2, 9})))

    chosen = Sequence(factor=4).select(pool, 5, seed=3)

    assert chosen.candidates.tolist() == picks(CoreSet(), alone, 5)
    assert set(chosen.candidates.tolist()) <= set(shortlist)
    entropies = Entropy().objective(pool, seed=0).scores
    np.testing.assert_array_equal(chosen.parts["entropy"], entropies[chosen.candidates])
    np.testing.assert_array_equal(chosen.parts["core_set"], chosen.scores)


@pytest.mark.parametrize("factor", [1e18, 1e308])
@pytest.mark.parametrize(
    "shortlist", [TypiClust(stream="image"), Entropy()], ids=["typiclust", "entropy"]
)
def test_a_shortlist_longer_than_the_pool_is_the_pool(shortlist: Strategy, factor: float) -> None:
    pool = pool_of()
    sequence = Sequence(shortlist=shortlist, choice=CoreSet("image"), factor=factor)

    assert picks(sequence, pool, 5) == picks(CoreSet("image"), pool, 5)


def test_cells_of_a_sequence_are_those_of_the_shortlist() -> None:
    pool = pool_of()

    chosen = Sequence(Entropy(), TwoStream(), 3).select(pool, 6, seed=3)

    inside = np.flatnonzero(chosen.cells >= 0)
    assert set(inside) == {*picks(Entropy(), pool, 18), 2, 9}
    assert np.all(np.isfinite(chosen.distances[inside]))
    assert np.all(np.isnan(np.delete(chosen.distances, inside)))


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6), budget=st.integers(0, 200))
def test_shares_sum_to_the_budget_and_are_off_by_less_than_one(
    weights: list[float], budget: int
) -> None:
    counts = shared(weights, budget)

    assert sum(counts) == budget
    exact = np.array(weights) / sum(weights) * budget
    assert np.all(np.abs(np.array(counts) - exact) < 1 + 1e-9)


def test_each_of_shares_knows_what_those_before_it_took() -> None:
    pool = pool_of()
    first = Entropy().select(pool, 8, seed=0).candidates

    chosen = Shares((Weighted(Entropy(), 2.0), Weighted(CoreSet()))).select(pool, 12, seed=0)

    second = CoreSet().select(pool.with_pending(first), 4, seed=0).candidates
    assert chosen.candidates.tolist() == [*first, *second]
    assert chosen.chosen_by == ("entropy",) * 8 + ("core_set",) * 4


def test_two_random_parts_draw_apart() -> None:
    pool = pool_of(200, labelled=())

    chosen = Shares((Weighted(RandomDraw()), Weighted(RandomDraw()))).select(pool, 40, seed=0)

    drawn = chosen.candidates
    assert chosen.chosen_by == ("random",) * 20 + ("random_2",) * 20
    assert len(set(drawn.tolist())) == 40
    assert np.count_nonzero(np.isin(drawn[20:], drawn[:20] + 1)) < 10


def test_ranks_of_equals_are_their_mean() -> None:
    ranks = by_rank(np.array([3, 1, 3, np.inf], np.float32))

    assert ranks.tolist() == [0.625, 0.25, 0.625, 1.0]


def test_scales_go_from_a_millionth_to_one() -> None:
    assert by_scale(np.array([2, 4, 3, np.inf], np.float32)) == pytest.approx([1e-6, 1, 0.5, 1])
    assert by_scale(np.full(3, np.inf, np.float32)).tolist() == [1, 1, 1]
    assert by_scale(np.zeros(2, np.float32)).tolist() == [1, 1]


def test_a_spread_follows_its_picks() -> None:
    points = np.array([[0], [3], [10]], np.float32)
    spread = Spread(points, np.array([], np.intp))

    before = spread.scores.copy()
    changed = spread.take(1)

    assert changed
    assert np.all(np.isinf(before))
    assert spread.scores == pytest.approx([3, 0, 7], abs=1e-3)


@pytest.mark.parametrize("away", [0, 1e6])
def test_a_spread_is_what_core_set_measures_to_the_last_bit(away: float) -> None:
    features = (np.random.default_rng(1).normal(size=(300, 7)) + away).astype(np.float32)
    pool = Pool.of(range(300), streams={"a": features}, labelled=[5], verdicts=[True])
    spread = Spread(pool.stream("a"), np.array([5]))

    for pick, radius in zip(*_picks_and_radii(pool), strict=True):
        assert spread.scores[pick] == radius == spread.scores.max()
        spread.take(pick)


def _picks_and_radii(pool: Pool) -> tuple[list[int], list[float]]:
    chosen = CoreSet().select(pool, 40, seed=0)
    return chosen.candidates.tolist(), chosen.scores.tolist()


def test_a_nested_strategy_travels_and_is_stored() -> None:
    pool = pool_of()
    filled = NESTED.resolved(pool, 20)

    stored = json.loads(json.dumps(parameters_of(filled)))

    assert strategy_of("shares", stored) == filled
    assert strategy_from_pb(strategy_to_pb("shares", stored)) == filled
    assert [one.name for one in inner_strategies(filled)] == [
        "sequence", "product", "entropy", "core-set", "two-stream", "random", "product",
        "core-set", "core-set",
    ]  # fmt: skip


def test_names_of_parts_are_told_apart() -> None:
    assert part_names([Entropy(), CoreSet(), Entropy()]) == ["entropy", "core_set", "entropy_2"]


def deep(levels: int) -> pb.Strategy:
    strategy = pb.Strategy(random=pb.RandomStrategy())
    for _ in range(levels - 1):
        strategy = shares_of([strategy])
    return strategy


def wide(parts: int) -> pb.Strategy:
    return shares_of([deep(1)] * parts)


def shares_of(strategies: list[pb.Strategy]) -> pb.Strategy:
    parts = [pb.WeightedStrategy(strategy=each) for each in strategies]
    return pb.Strategy(shares=pb.SharesStrategy(parts=parts))


def test_strategies_inside_of_each_other_have_bounds() -> None:
    for allowed in (deep(4), wide(16)):
        assert isinstance(strategy_from_pb(allowed), Shares)
    for refused in (deep(5), deep(20), wide(17)):
        with pytest.raises(InvalidInput, match="16 in all and 4 deep"):
            strategy_from_pb(refused)


def test_reasons_have_the_parts_of_picks_and_none_of_random_ones() -> None:
    pool = pool_of()
    found = suggest(pool, NESTED, 20, seed=1, random_share=0.2)

    told = [json.loads(text) for text in reasons(pool, found, encoders={}, model="")]

    drawn = [reason for reason in told if reason["role"] == "random"]
    chosen = [reason for reason in told if reason["role"] == "strategy"]
    assert len(drawn) == 4
    assert not any("parts" in reason or "chosen_by" in reason for reason in drawn)
    assert {reason["chosen_by"] for reason in chosen} == {"sequence", "random", "product"}
    by_product = next(reason for reason in chosen if reason["chosen_by"] == "product")
    assert set(by_product["parts"]) == {"core_set", "core_set_2"}
    by_random = next(reason for reason in chosen if reason["chosen_by"] == "random")
    assert "parts" not in by_random


def test_only_some_candidates_are_a_pool_of_their_own() -> None:
    pool = replace(pool_of(), pending=np.array([4]), blocked=np.array([5, 30]))

    part = pool.only(np.array([2, 4, 5, 6]))

    assert part.candidates.tolist() == [2, 4, 5, 6]
    assert (part.labelled.tolist(), part.verdicts.tolist()) == ([2], [True])
    assert (part.pending.tolist(), part.blocked.tolist()) == ([4], [5])
    assert part.available.tolist() == [False, False, False, True]
    assert part.probabilities is not None
    assert pool.probabilities is not None
    np.testing.assert_array_equal(part.probabilities, pool.probabilities[[2, 4, 5, 6]])
    np.testing.assert_array_equal(part.stream("mask"), pool.stream("mask")[[2, 4, 5, 6]])
