from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from parfocal_loop.shares import Share
from parfocal_loop.stopping import Advice, Measured, Rule, Verdict, advise

SEED, STEP = 5, 40
Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

CURVES: dict[str, Curve] = {
    "line": lambda labels: 0.5 + 0.0005 * labels,
    "logarithm": lambda labels: 0.6 + 0.05 * np.log1p(labels / STEP),
    "power": lambda labels: 0.9 - 0.3 / (1 + labels / STEP),
    "exponential": lambda labels: 0.9 - 0.3 * np.exp(-labels / STEP),
    "nothing": lambda labels: 0.85 + 0 * labels,
}


def models(*shares: tuple[int, int]) -> list[Measured]:
    """Models one round apart, the first without labels: right ones and answers of each."""
    return [
        Measured(labels=STEP * n, right=Share.of_counts(*share)) for n, share in enumerate(shares)
    ]


def advice(known: list[Measured], rule: Rule | None = None, level: float = 0.95) -> Advice:
    return advise(known, labels=STEP * len(known), step=STEP, rule=rule or Rule(), level=level)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_with_fewer_than_three_models_it_is_too_early(count: int) -> None:
    said = advice(models(*[(900, 1000)] * count))

    assert said.verdict is Verdict.TOO_EARLY
    assert math.isnan(said.per_hundred.value)
    assert math.isnan(said.probability)
    assert said.per_hundred.undefined_reason == (
        f"it takes 3 models measured on random shares; so far: {count}"
    )


def test_a_model_that_nobody_measured_is_no_model() -> None:
    assert advice(models((9, 10), (0, 0), (9, 10))).verdict is Verdict.TOO_EARLY


def test_models_from_the_same_labels_are_no_curve() -> None:
    known = [Measured(labels, Share.of_counts(90, 100)) for labels in (0, 40, 40)]

    assert advice(known).verdict is Verdict.TOO_EARLY


def test_models_without_labels_between_them_are_no_reason_to_stop() -> None:
    right = Share.of_counts(9000, 10000)
    known = [Measured(labels, right) for labels in (0, 0, 0, 40, 80)]

    assert advice(known).verdict is Verdict.GO_ON


def test_steady_progress_means_go_on() -> None:
    said = advice(models((500, 1000), (600, 1000), (700, 1000), (800, 1000)))

    assert said.verdict is Verdict.GO_ON
    assert said.next_round.lower > 0
    assert said.per_hundred.value > said.next_round.value
    assert said.probability > 0.95


def test_a_long_plateau_means_stop() -> None:
    said = advice(models((6000, 10000), *[(9000, 10000)] * 6))

    assert said.verdict is Verdict.STOP
    assert said.probability < 0.1
    assert said.next_round.upper < 0.01


def test_the_same_plateau_seen_through_few_answers_means_go_on() -> None:
    said = advice(models((6, 10), *[(9, 10)] * 6))

    assert said.verdict is Verdict.GO_ON
    assert 0.1 <= said.probability <= 0.9


def test_patience_waits_for_more_models() -> None:
    flat = models(*[(9000, 10000)] * 4)

    assert advice(flat, Rule(patience=2)).verdict is Verdict.STOP
    assert advice(flat, Rule(patience=3)).verdict is Verdict.GO_ON


def test_a_smaller_gain_that_is_worth_a_round_is_more_probable() -> None:
    known = models((700, 1000), (720, 1000), (740, 1000), (745, 1000))

    chances = [advice(known, Rule(minimum_gain=gain)).probability for gain in (0, 0.01, 0.05)]

    assert chances == sorted(chances, reverse=True)
    assert chances[0] > chances[2]


def test_models_that_scatter_more_than_their_answers_explain_widen_the_interval() -> None:
    smooth = advice(models((8000, 10000), (8100, 10000), (8150, 10000), (8200, 10000)))
    rough = advice(models((8000, 10000), (8600, 10000), (7900, 10000), (8200, 10000)))

    assert _width(rough) > 3 * _width(smooth)


def test_a_lower_level_is_a_narrower_interval() -> None:
    known = models((70, 100), (75, 100), (76, 100))

    assert _width(advice(known, level=0.5)) < _width(advice(known, level=0.95))


@pytest.mark.parametrize("name", CURVES)
def test_the_interval_of_the_gain_holds_it_as_often_as_it_says(name: str) -> None:
    random, curve = np.random.default_rng(SEED), CURVES[name]
    labels = STEP * np.arange(6.0)
    before, after = curve(np.array([240.0, 340.0]))

    held = []
    for hits in random.binomial(60, curve(labels), (100, 6)):
        gain = advice(models(*((hit, 60) for hit in hits.tolist()))).per_hundred
        held.append(gain.lower <= after - before <= gain.upper)

    # On average over the curves that there may be it is 95 %; of those at either end it is less.
    assert np.mean(held) >= 0.85


def _width(said: Advice) -> float:
    return said.per_hundred.upper - said.per_hundred.lower
