"""Strategies that rank or draw, each against a plain version of itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.objectives import Scoring
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies.acft import Acft
from parfocal_suggestion.strategies.bald import Bald
from parfocal_suggestion.strategies.clasp_pe import ClaspPe
from parfocal_suggestion.strategies.class_random import ClassRandom
from parfocal_suggestion.strategies.foreground_random import ForegroundRandom
from parfocal_suggestion.strategies.learning_loss import LearningLoss
from parfocal_suggestion.strategies.least_confidence import LeastConfidence
from parfocal_suggestion.strategies.margin import Margin
from parfocal_suggestion.strategies.power_bald import PowerBald
from suggestion_pools import pool_of

POOL = pool_of(range(60), labelled=(3, 9))


def free() -> list[int]:
    return [i for i in range(60) if i not in (3, 9)]


def nats(chances: list[float]) -> float:
    return -sum(p * float(np.log(p)) for p in chances if p > 0)


def largest(scores: dict[int, float], count: int) -> list[int]:
    return sorted(scores, key=lambda i: (-scores[i], i))[:count]


def test_least_confidence_is_one_minus_the_likeliest() -> None:
    scores = {i: 1 - max(POOL.views()[i].mean(axis=0)) for i in free()}

    selection = LeastConfidence().select(POOL, 9, seed=0)

    assert selection.candidates.tolist() == largest(scores, 9)
    assert selection.scores[0] == pytest.approx(max(scores.values()))


def test_margin_is_between_the_two_likeliest() -> None:
    scores = {}
    for i in free():
        second, first = sorted(POOL.views()[i].mean(axis=0))[-2:]
        scores[i] = 1 - (first - second)

    selection = Margin().select(POOL, 9, seed=0)

    assert selection.candidates.tolist() == largest(scores, 9)
    assert selection.scores[0] == pytest.approx(max(scores.values()))


def test_one_class_is_no_doubt() -> None:
    pool = Pool.of(range(3), probabilities=[[1.0], [1.0], [1.0]])

    assert Margin().select(pool, 2, seed=0).candidates.tolist() == [0, 1]


def information() -> dict[int, float]:
    return {
        i: nats(POOL.views()[i].mean(axis=0).tolist())
        - float(np.mean([nats(view.tolist()) for view in POOL.views()[i]]))
        for i in free()
    }


def test_bald_is_what_the_views_know_between_them() -> None:
    selection = Bald().select(POOL, 9, seed=0)

    assert selection.candidates.tolist() == largest(information(), 9)
    assert selection.scores[0] == pytest.approx(max(information().values()), rel=1e-4)
    np.testing.assert_allclose(
        selection.parts["predictive_entropy"] - selection.parts["expected_entropy"],
        selection.scores,
        rtol=1e-5,
    )


@pytest.mark.parametrize("strategy", [Bald(), PowerBald()])
def test_one_view_is_not_enough_to_disagree(strategy: Bald | PowerBald) -> None:
    pool = Pool.of(range(3), predictions=np.full((3, 1, 2), 0.5))

    with pytest.raises(InvalidInput, match="2 views or more"):
        strategy.select(pool, 1, seed=0)


def test_power_bald_draws_in_proportion_to_the_power() -> None:
    views = np.array([[[0.5, 0.5]] * 2, [[0.1, 0.9], [0.9, 0.1]], [[0.3, 0.7], [0.7, 0.3]]])
    pool = Pool.of(range(3), predictions=views)
    scores = np.array([nats([0.5, 0.5]) - nats(list(view[0])) for view in views])

    for strength in (0.5, 2):
        first = Counter(
            int(PowerBald(strength).select(pool, 1, seed=seed).candidates[0])
            for seed in range(1500)
        )
        expected = scores[1:] ** strength / np.sum(scores[1:] ** strength)
        np.testing.assert_allclose([first[1] / 1500, first[2] / 1500], expected, atol=0.05)
        assert first[0] == 0


def test_a_strong_power_is_bald() -> None:
    bald = Bald().select(POOL, 5, seed=0).candidates

    assert PowerBald(1e9).select(POOL, 5, seed=0).candidates.tolist() == bald.tolist()


def test_a_power_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="above 0"):
        PowerBald(0).select(POOL, 5, seed=0)


def test_learning_loss_ranks_a_random_part() -> None:
    losses = {i: float(POOL.measure("predicted_loss")[i]) for i in free()}

    whole = LearningLoss().select(POOL, 9, seed=0).candidates
    parts = {
        tuple(LearningLoss(subset=20).select(POOL, 9, seed=seed).candidates) for seed in range(5)
    }

    assert whole.tolist() == largest(losses, 9)
    assert len(parts) == 5
    for part in parts:
        found = [losses[i] for i in part]
        assert found == sorted(found, reverse=True)


def test_two_thirds_are_drawn_from_the_foreground_and_all_is_drawn_evenly() -> None:
    has = np.arange(40) < 10
    pool = Pool.of(range(40), measures={"size": np.where(has, 7, 2)})
    strategy = ForegroundRandom(measure="size", threshold=2)

    counts = np.zeros(40)
    for seed in range(2000):
        drawn = strategy.select(pool, 6, seed=seed).candidates
        assert np.count_nonzero(drawn < 10) >= 4
        counts[drawn] += 1

    # 4 of 10 first, then 2 of the 36 that are left.
    np.testing.assert_allclose(counts[has] / 2000, 0.4 + 0.6 / 18, atol=0.05)
    np.testing.assert_allclose(counts[~has] / 2000, 1 / 18, atol=0.02)


def test_the_rest_makes_up_for_foreground_that_is_not_there() -> None:
    pool = Pool.of(range(9), measures={"foreground": [1] + [0] * 8})

    drawn = ForegroundRandom(share=1).select(pool, 5, seed=0).candidates

    assert 0 in drawn
    assert len(set(drawn.tolist())) == 5


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(InvalidInput, match="no measure 'foreground'"):
        ForegroundRandom().select(Pool.of(range(3)), 1, seed=0)


def test_every_predicted_class_is_drawn_from_as_often_as_it_can_be() -> None:
    likeliest = np.repeat([0, 1, 2], [40, 15, 2])
    pool = Pool.of(range(57), probabilities=0.1 + 0.7 * np.eye(3)[likeliest])

    counts = np.zeros(57)
    for seed in range(1000):
        drawn = ClassRandom().select(pool, 12, seed=seed).candidates
        assert np.bincount(likeliest[drawn], minlength=3).tolist() == [5, 5, 2]
        counts[drawn] += 1

    np.testing.assert_allclose(counts[:40] / 1000, 5 / 40, atol=0.05)
    np.testing.assert_allclose(counts[40:55] / 1000, 5 / 15, atol=0.06)


def test_clasp_pe_takes_the_largest_of_each_class_where_chance_has_faded() -> None:
    chances = np.random.default_rng(0).dirichlet([4, 0.5, 0.5], size=300).astype(np.float32)
    pool = Pool.of(range(300), probabilities=chances)
    doubt = [nats(row.tolist()) for row in chances]

    selection = ClaspPe(last_strength=1e6, step=4).select(pool, 20, seed=1)

    drawn_for = selection.parts["drawn_for_class"]
    counts = Counter("rest" if np.isnan(each) else int(each) for each in drawn_for)
    assert counts["rest"] == 7
    assert sorted((counts[1], counts[2])) == [6, 7]
    left = set(range(300))
    for candidate, score, of_class in zip(
        selection.candidates.tolist(), selection.scores, drawn_for, strict=True
    ):
        weight = 1 if np.isnan(of_class) else chances[:, int(of_class)]
        scores = dict(enumerate(np.array(doubt) * weight))
        best = max(left, key=lambda i: scores[i])
        assert score == pytest.approx(scores[best], rel=1e-5)
        left.discard(candidate)


def test_the_share_of_classes_is_not_rounded_down() -> None:
    pool = Pool.of(range(200), probabilities=np.random.default_rng(0).random(200))

    selection = ClaspPe(class_share=0.29).select(pool, 100, seed=1)

    # 0.29 x 100 is a little less than 29 in floating point.
    assert np.count_nonzero(np.isfinite(selection.parts["drawn_for_class"])) == 29


def test_the_chance_of_clasp_pe_fades_by_the_same_factor_each_step() -> None:
    strengths = [ClaspPe(step=step, steps=5).strength for step in (0, 1, 2, 3, 4, 9)]

    assert strengths == pytest.approx([1, 10**0.5, 10, 10**1.5, 100, 100])


@pytest.mark.parametrize("strategy", [ClaspPe(class_share=1.5), ClaspPe(first_strength=0)])
def test_clasp_pe_refuses_what_is_out_of_range(strategy: ClaspPe) -> None:
    with pytest.raises(InvalidInput):
        strategy.select(POOL, 5, seed=0)


@pytest.mark.parametrize(
    "strategy", [Acft(extension=1), Bald(), LearningLoss(), LeastConfidence(), Margin()]
)
def test_what_a_strategy_ranks_by_can_be_part_of_a_product(strategy: Strategy) -> None:
    assert isinstance(strategy, Scoring)
    scores = strategy.objective(POOL, seed=0).scores

    ranked = strategy.select(POOL, 12, seed=0)

    assert ranked.candidates.tolist() == largest({i: float(scores[i]) for i in free()}, 12)
    np.testing.assert_array_equal(scores[ranked.candidates], ranked.scores)
