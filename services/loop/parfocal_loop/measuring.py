"""What the labels of a round say of its model and its strategy, written into its status."""

from __future__ import annotations

import time

from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.consensus import answers
from parfocal_loop.estimate import estimate_of
from parfocal_loop.lift import Answers, lift_of
from parfocal_loop.messages import estimate_to_pb, lift_to_pb, time_to_pb
from parfocal_loop.peers import Peers

_DEFAULT_LEVEL = 0.95


def level_of(spec: rounds.RoundSpec) -> float:
    """Return the confidence level of a round's intervals."""
    return spec.confidence_level or _DEFAULT_LEVEL


async def measure(
    peers: Peers,
    spec: rounds.RoundSpec,
    status: rounds.RoundStatus,
    *,
    parent: str,
    round: str,
    timeout_seconds: float | None = None,
) -> None:
    """Write accuracies and lift from the labels so far into `status`."""
    weighted = spec.HasField("random_weights")
    found = await answers(
        peers,
        parent,
        round,
        selection=status.selection if weighted else "",
        timeout_seconds=timeout_seconds,
    )
    write_measures(spec, status, found)


def write_measures(spec: rounds.RoundSpec, status: rounds.RoundStatus, found: Answers) -> None:
    """Write accuracies and lift from these answers into `status`."""
    level = level_of(spec)
    for accuracy, wrong in (
        (status.accuracy, found.wrong_at_random()),
        (status.strategy_accuracy, found.wrong_by_strategy()),
    ):
        accuracy.CopyFrom(estimate_to_pb(estimate_of(wrong.complement, level=level)))
        if found.incomparable:
            accuracy.undefined_reason = found.incomparable
    status.lift.CopyFrom(lift_to_pb(lift_of(found, level=level)))
    status.lift.decided = len(found.clear)
    status.lift.queries = status.queries
    status.lift.complete = len(found.clear) >= status.queries
    status.lift.compute_time.CopyFrom(time_to_pb(time.time()))
