from __future__ import annotations

import math

import pytest

from parfocal.cli._lift import lift_cell, measure_lines
from parfocal.loop.v1.round_pb2 import (
    AccuracyEstimate,
    ErrorDiscovery,
    IntervalEstimate,
    Lift,
    RoundStatus,
    StoppingAdvice,
)

NAN = math.nan


def interval(value: float, lower: float, upper: float, reason: str = "") -> IntervalEstimate:
    return IntervalEstimate(value=value, lower=lower, upper=upper, undefined_reason=reason)


def found(wrong: int, labels: int) -> ErrorDiscovery:
    rate = wrong / labels
    return ErrorDiscovery(wrong=wrong, labels=labels, rate=interval(rate, rate - 0.1, rate + 0.1))


def lift(ratio: IntervalEstimate, difference: IntervalEstimate, *, complete: bool = True) -> Lift:
    return Lift(
        strategy=found(12, 40),
        random=found(1, 10),
        ratio=ratio,
        difference=difference,
        level=0.95,
        decided=50,
        queries=60,
        complete=complete,
    )


BETTER = lift(interval(3, 1.2, 9), interval(0.2, 0.05, 0.3))


def test_a_round_says_what_it_found_and_whether_to_go_on() -> None:
    status = RoundStatus(
        accuracy=AccuracyEstimate(labels=10, right=9, accuracy=0.9, lower=0.6, upper=0.98),
        pooled_accuracy=AccuracyEstimate(labels=30, right=27, accuracy=0.9, lower=0.7, upper=0.97),
        lift=BETTER,
        stopping_advice=StoppingAdvice(text="Go on."),
    )

    assert list(measure_lines(status)) == [
        "share of right proposals, from the random share: 0.900 (0.600 to 0.980)",
        "the same over all rounds of this model: 0.900 (0.700 to 0.970)",
        "errors found: 12 of 40 answers, 0.300 (0.200 to 0.400) by the strategy, "
        "1 of 10 answers, 0.100 (0.000 to 0.200) by the random share",
        "lift over random: 3.00 (1.20 to 9.00); difference +0.200 (+0.050 to +0.300); "
        "the strategy finds more errors than random",
        "advice: Go on.",
    ]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (interval(0.1, -0.1, 0.3), "cannot be told from random"),
        (interval(-0.2, -0.3, -0.1), "finds fewer errors than random"),
        (interval(NAN, NAN, NAN, "no label in this share"), "cannot be told from random"),
    ],
)
def test_a_claim_needs_an_interval_without_zero(difference: IntervalEstimate, words: str) -> None:
    *_, line = measure_lines(RoundStatus(lift=lift(interval(1, 0.5, 2), difference)))

    assert words in line


def test_before_all_are_decided_it_says_so() -> None:
    status = RoundStatus(lift=lift(interval(1, 0.5, 2), interval(0, -0.1, 0.1), complete=False))

    assert next(measure_lines(status)).startswith(
        "errors found so far, with 50 of 60 decided: 12 of 40"
    )


def test_what_is_unknown_is_no_number() -> None:
    ratio = interval(NAN, 1.6, math.inf, "the random share found no error")
    *_, line = measure_lines(RoundStatus(lift=lift(ratio, interval(0.2, 0.05, 0.3))))

    assert "lift over random: at least 1.60 (the random share found no error);" in line


def test_a_list_shows_the_lift_or_nothing() -> None:
    assert lift_cell(BETTER) == "3.00 (1.20 to 9.00)"
    assert lift_cell(Lift()) == "-"
    assert lift_cell(lift(interval(NAN, 1, math.inf), interval(0.2, 0.1, 0.3))) == "-"
