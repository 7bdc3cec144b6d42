"""Lift over random: what the strategy's picks find, beside what random draws find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from parfocal_loop.intervals import Interval, difference, ratio, wilson_interval
from parfocal_loop.shares import Mask, Share, Weights, share_of


@dataclass(frozen=True)
class Answers:
    """The decided queries of a round.

    Attributes:
        is_random: (n,) bool, True for the random share.
        clear: (n,) bool, True where the answer says right or wrong; the others are unsure.
        wrong: (n,) bool, True where what was proposed is wrong.
        chances: (n,) float64, the chance of each random one to be drawn, up to a common factor;
            None where all are equal.
        incomparable: Why no answer says right or wrong; empty where answers do.
    """

    is_random: Mask
    clear: Mask
    wrong: Mask
    chances: Weights | None = None
    incomparable: str = ""

    def wrong_at_random(self) -> Share:
        """Share of wrong ones in the pool, from the random share."""
        rows = self.clear & self.is_random
        weights = None if self.chances is None else 1 / self.chances[rows]
        return share_of(self.wrong[rows], weights)

    def wrong_by_strategy(self) -> Share:
        """Share of wrong ones among the strategy's picks."""
        return share_of(self.wrong[self.clear & ~self.is_random])


@dataclass(frozen=True)
class Discovery:
    """Errors that one part of the queue found.

    Attributes:
        share: The wrong ones among the answers.
        rate: The same with its interval.
        unsure: Answers that say neither right nor wrong; they count nowhere.
    """

    share: Share
    rate: Interval
    unsure: int


@dataclass(frozen=True)
class Lift:
    """What the strategy finds, beside what random draws find.

    Attributes:
        strategy: Errors found by the strategy's picks.
        random: Errors found by the random share.
        difference: Rate of the strategy minus that of random.
        ratio: Rate of the strategy over that of random.
        level: Confidence level of every interval.
    """

    strategy: Discovery
    random: Discovery
    difference: Interval
    ratio: Interval
    level: float


def lift_of(answers: Answers, *, level: float) -> Lift:
    """Return what the answers so far say of the strategy.

    The rate of the random share is that of the pool that the strategy chose from: what asking at
    random would find. The rate of the strategy is that of picks like these. Strategies show their
    best picks first, so its rate may fall as a round goes on; random picks come in the order of
    the draw.
    """
    strategy, random = answers.wrong_by_strategy(), answers.wrong_at_random()
    unsure = ~answers.clear
    lift = Lift(
        strategy=Discovery(
            strategy,
            wilson_interval(strategy, level=level),
            int(np.count_nonzero(unsure & ~answers.is_random)),
        ),
        random=Discovery(
            random,
            wilson_interval(random, level=level),
            int(np.count_nonzero(unsure & answers.is_random)),
        ),
        difference=difference(strategy, random, level=level),
        ratio=ratio(strategy, random, level=level),
        level=level,
    )
    return _explained(lift, answers.incomparable) if answers.incomparable else lift


def _explained(lift: Lift, reason: str) -> Lift:
    def because(interval: Interval) -> Interval:
        return replace(interval, undefined_reason=reason)

    return replace(
        lift,
        strategy=replace(lift.strategy, rate=because(lift.strategy.rate)),
        random=replace(lift.random, rate=because(lift.random.rate)),
        difference=because(lift.difference),
        ratio=because(lift.ratio),
    )
