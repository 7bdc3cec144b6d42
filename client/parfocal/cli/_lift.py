"""What a round found, in words: errors, lift over random, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from parfocal.loop.v1.round_pb2 import (
    AccuracyEstimate,
    ErrorDiscovery,
    IntervalEstimate,
    Lift,
    RoundStatus,
)


def measure_lines(status: RoundStatus) -> Iterator[str]:
    """Yield a line for each thing that the labels of a round say."""
    if status.HasField("accuracy"):
        yield f"share of right proposals, from the random share: {accuracy(status.accuracy)}"
    pooled = status.pooled_accuracy
    if pooled.labels > status.accuracy.labels:
        yield f"the same over all rounds of this model: {accuracy(pooled)}"
    if status.HasField("lift"):
        yield from _lift_lines(status.lift)
    if status.HasField("stopping_advice"):
        yield f"advice: {status.stopping_advice.text}"


def accuracy(estimate: AccuracyEstimate) -> str:
    """Return an accuracy with its interval, `-` where there is none."""
    if not estimate.labels or math.isnan(estimate.accuracy):
        return "-"
    return f"{estimate.accuracy:.3f} ({estimate.lower:.3f} to {estimate.upper:.3f})"


def lift_cell(lift: Lift) -> str:
    """Return the lift with its interval, `-` where there is none."""
    return (
        "-" if math.isnan(lift.ratio.value) or not lift.level else _interval(lift.ratio, "{:.2f}")
    )


def _lift_lines(lift: Lift) -> Iterator[str]:
    so_far = "" if lift.complete else f" so far, with {lift.decided} of {lift.queries} decided"
    yield (
        f"errors found{so_far}: {_found(lift.strategy)} by the strategy, "
        f"{_found(lift.random)} by the random share"
    )
    yield (
        f"lift over random: {_interval(lift.ratio, '{:.2f}')}; "
        f"difference {_interval(lift.difference, '{:+.3f}')}; {_verdict(lift.difference)}"
    )


def _found(discovery: ErrorDiscovery) -> str:
    rate = _interval(discovery.rate, "{:.3f}")
    return f"{discovery.wrong} of {discovery.labels} answers, {rate}"


def _interval(interval: IntervalEstimate, form: str) -> str:
    if not math.isnan(interval.value):
        lower, upper = form.format(interval.lower), form.format(interval.upper)
        return f"{form.format(interval.value)} ({lower} to {upper})"
    if math.isnan(interval.lower):
        return f"unknown ({interval.undefined_reason})"
    return f"at least {form.format(interval.lower)} ({interval.undefined_reason})"


def _verdict(difference: IntervalEstimate) -> str:
    if difference.lower > 0:
        return "the strategy finds more errors than random"
    if difference.upper < 0:
        return "the strategy finds fewer errors than random"
    return "the strategy cannot be told from random"
