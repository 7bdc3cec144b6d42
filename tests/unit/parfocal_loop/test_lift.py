from __future__ import annotations

import math

import numpy as np
import pytest

from parfocal_loop.intervals import NO_LABEL
from parfocal_loop.lift import Answers, lift_of

# Role and verdict of each: s(trategy) or r(andom), then T(rue), F(alse) or u(nsure).
ROUND = "sF sF sT sF su rT rF rT rT ru ru"


def answers(text: str, chances: list[float] | None = None) -> Answers:
    one = text.split()
    return Answers(
        is_random=np.array([each[0] == "r" for each in one], np.bool_),
        clear=np.array([each[1] != "u" for each in one], np.bool_),
        wrong=np.array([each[1] == "F" for each in one], np.bool_),
        chances=None if chances is None else np.array(chances),
    )


def test_errors_are_counted_for_the_strategy_and_for_random() -> None:
    lift = lift_of(answers(ROUND), level=0.9)

    assert (lift.strategy.share.hits, lift.strategy.share.labels, lift.strategy.unsure) == (3, 4, 1)
    assert (lift.random.share.hits, lift.random.share.labels, lift.random.unsure) == (1, 4, 2)
    assert (lift.strategy.rate.value, lift.random.rate.value) == (0.75, 0.25)
    assert lift.difference.value == 0.5
    assert lift.ratio.value == pytest.approx(3)
    assert lift.level == 0.9


def test_before_the_first_random_answer_there_is_no_lift() -> None:
    lift = lift_of(answers("sF sT"), level=0.95)

    assert lift.strategy.rate.value == 0.5
    for interval in (lift.random.rate, lift.difference, lift.ratio):
        assert math.isnan(interval.value)
        assert interval.undefined_reason == NO_LABEL


def test_random_picks_count_for_what_they_stand_for() -> None:
    lift = lift_of(answers("sF rF rT", [0, 0.4, 0.1]), level=0.95)

    assert lift.random.rate.value == pytest.approx(0.2)


def test_answers_that_cannot_be_compared_say_why_there_is_no_lift() -> None:
    classes = Answers(
        is_random=np.array([True, False]),
        clear=np.zeros(2, np.bool_),
        wrong=np.zeros(2, np.bool_),
        incomparable="the answers are classes",
    )

    lift = lift_of(classes, level=0.95)

    assert math.isnan(lift.ratio.value)
    assert lift.random.rate.undefined_reason == "the answers are classes"
