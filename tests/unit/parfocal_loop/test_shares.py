from __future__ import annotations

import math

import numpy as np
import pytest

from parfocal_loop.intervals import wilson_interval
from parfocal_loop.shares import Share, pooled, share_of

SEED = 20


def test_equal_weights_are_no_weights() -> None:
    hits = np.array([True, False, False, True, False])

    weighted = share_of(hits, np.full(5, 3.0))

    assert weighted.value == pytest.approx(share_of(hits).value)
    assert weighted.effective == pytest.approx(5)
    assert share_of(hits) == Share.of_counts(2, 5)


def test_a_rare_draw_counts_for_all_that_it_stands_for() -> None:
    share = share_of(np.array([True, False]), np.array([1.0, 3.0]))

    assert share.value == pytest.approx(0.25)
    assert (share.hits, share.labels) == (1, 2)


def test_no_answer_is_no_share() -> None:
    share = share_of(np.empty(0, np.bool_), np.empty(0))

    assert math.isnan(share.value)
    assert (share.labels, share.effective) == (0, 0)


def test_answers_that_all_agree_are_worth_no_more_than_their_weights_allow() -> None:
    share = share_of(np.array([True, True, True]), np.array([1.0, 1.0, 4.0]))

    assert share.value == 1
    assert share.effective == pytest.approx(2)


def test_a_complement_has_the_other_hits() -> None:
    assert Share.of_counts(3, 4).complement == Share.of_counts(1, 4)


def test_rounds_are_pooled_by_the_pools_they_drew_from_not_by_what_they_drew() -> None:
    together = pooled([Share.of_counts(9, 10), Share.of_counts(5, 50)], [300, 100])

    assert together.value == pytest.approx(0.75 * 0.9 + 0.25 * 0.1)
    assert (together.hits, together.labels) == (14, 60)
    assert together.effective == pytest.approx(1 / (0.75**2 / 10 + 0.25**2 / 50))


def test_a_round_without_answers_counts_nowhere() -> None:
    assert pooled([Share.of_counts(3, 4), Share.of_counts(0, 0)], [10, 90]) == Share.of_counts(3, 4)
    assert math.isnan(pooled([Share.of_counts(0, 0)], [10]).value)


def test_pooled_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(SEED)
    sizes, drawn = np.array([900, 300, 100]), np.array([10, 30, 30])
    rates = np.array([0.9, 0.7, 0.5])
    truth = float(sizes @ rates / sizes.sum())

    held = [
        _holds(
            pooled([*map(Share.of_counts, hits.tolist(), drawn.tolist())], sizes.tolist()), truth
        )
        for hits in random.binomial(drawn, rates, (2000, 3))
    ]

    assert 0.94 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_weighted_intervals_hold_the_truth_as_often_as_they_say(strength: float) -> None:
    random = np.random.default_rng(SEED)
    foreground = random.beta(0.7, 2, 3000)
    wrong = random.random(3000) < 0.1 + 0.5 * foreground
    chances = (1 - strength) / 3000 + strength * foreground / foreground.sum()

    held = []
    for _ in range(1500):
        rows = random.choice(3000, 40, p=chances)
        held.append(_holds(share_of(wrong[rows], 1 / chances[rows]), float(wrong.mean())))

    assert 0.92 <= np.mean(held) <= 0.985


def _holds(share: Share, truth: float) -> bool:
    interval = wilson_interval(share, level=0.95)
    return interval.lower <= truth <= interval.upper
