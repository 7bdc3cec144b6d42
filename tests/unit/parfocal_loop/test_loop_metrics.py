from __future__ import annotations

import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.estimate import wilson
from parfocal_loop.lift import Answers
from parfocal_loop.measuring import write_measures
from parfocal_loop.messages import estimate_to_pb
from parfocal_loop.metrics import MOST_SHOWN, LoopMetrics
from parfocal_loop.works import WorkKey

FIRST, SECOND = WorkKey("p", "round", "r1"), WorkKey("p", "round", "r2")


def found(
    random: tuple[int, int],
    strategy: tuple[int, int] = (0, 0),
    state: artifacts.WorkState.ValueType = artifacts.WORK_STATE_SUCCEEDED,
) -> rounds.RoundStatus:
    """What a round found: right ones and labels of each share."""
    return rounds.RoundStatus(
        state=state,
        accuracy=estimate_to_pb(wilson(*random, level=0.95)),
        strategy_accuracy=estimate_to_pb(wilson(*strategy, level=0.95)),
    )


def value(metrics: LoopMetrics, name: str, key: WorkKey, share: str = "") -> float | None:
    """Return a value as Prometheus gets it, None where it is left out."""
    registry = CollectorRegistry()
    registry.register(metrics)
    where = {"project": key.project, "strategy": "two-stream", "round": key.id}
    where |= {"share": share} if share else {}
    return registry.get_sample_value(f"parfocal_round_{name}", where)


def test_each_share_shows_its_accuracy_with_its_interval() -> None:
    metrics = LoopMetrics()

    metrics.round_ended(FIRST, "two-stream", found((8, 10), (3, 4)))

    expected = wilson(8, 10, level=0.95)
    assert value(metrics, "accuracy", FIRST, "random") == 0.8
    assert value(metrics, "accuracy_lower", FIRST, "random") == expected.lower
    assert value(metrics, "accuracy_upper", FIRST, "random") == expected.upper
    assert value(metrics, "labels", FIRST, "random") == 10
    assert value(metrics, "accuracy", FIRST, "strategy") == 0.75


def test_an_accuracy_without_labels_is_left_out_and_never_zero() -> None:
    metrics = LoopMetrics()

    metrics.round_ended(FIRST, "two-stream", found((0, 0), (3, 4)))

    assert value(metrics, "labels", FIRST, "random") == 0
    for name in ("accuracy", "accuracy_lower", "accuracy_upper"):
        assert value(metrics, name, FIRST, "random") is None
        assert math.isfinite(value(metrics, name, FIRST, "strategy") or math.nan)


def test_a_round_that_did_not_succeed_says_nothing() -> None:
    metrics = LoopMetrics()
    metrics.round_ended(FIRST, "two-stream", found((8, 10)))

    for state in (artifacts.WORK_STATE_FAILED, artifacts.WORK_STATE_CANCELLED):
        metrics.round_ended(SECOND, "two-stream", found((1, 10), state=state))

    assert value(metrics, "labels", SECOND, "random") is None
    assert value(metrics, "accuracy", FIRST, "random") == 0.8


def test_the_newest_round_of_a_strategy_takes_the_place_of_the_one_before() -> None:
    metrics = LoopMetrics()

    metrics.round_ended(FIRST, "two-stream", found((8, 10)))
    metrics.round_ended(SECOND, "two-stream", found((9, 10)))

    assert value(metrics, "accuracy", FIRST, "random") is None
    assert value(metrics, "accuracy", SECOND, "random") == 0.9


def lifted(strategy: tuple[int, int], random: tuple[int, int]) -> rounds.RoundStatus:
    """What a round found: wrong ones and labels of each share."""
    (wrong, chosen), (missed, drawn) = strategy, random
    count = chosen + drawn
    status = rounds.RoundStatus(state=artifacts.WORK_STATE_SUCCEEDED, queries=count)
    answers = Answers(
        is_random=np.arange(count) >= chosen,
        clear=np.ones(count, np.bool_),
        wrong=np.array([n < wrong or chosen <= n < chosen + missed for n in range(count)]),
    )
    write_measures(rounds.RoundSpec(), status, answers)
    return status


def test_lift_and_what_it_is_made_of_are_shown_with_their_intervals() -> None:
    metrics = LoopMetrics()

    metrics.round_ended(FIRST, "two-stream", status := lifted((6, 10), (2, 10)))

    assert value(metrics, "error_discovery_rate", FIRST, "strategy") == 0.6
    assert value(metrics, "error_discovery_rate", FIRST, "random") == 0.2
    assert value(metrics, "lift", FIRST) == pytest.approx(3)
    assert value(metrics, "lift_lower", FIRST) == status.lift.ratio.lower
    assert value(metrics, "lift_upper", FIRST) == status.lift.ratio.upper
    assert value(metrics, "lift_difference", FIRST) == pytest.approx(0.4)


def test_a_lift_that_is_undefined_is_left_out_and_its_known_end_is_not() -> None:
    metrics = LoopMetrics()

    metrics.round_ended(FIRST, "two-stream", lifted((6, 10), (0, 10)))

    assert value(metrics, "lift", FIRST) is None
    assert value(metrics, "lift_upper", FIRST) is None
    assert (value(metrics, "lift_lower", FIRST) or 0) > 1


def test_a_round_that_is_being_labelled_is_the_newest_until_it_ends() -> None:
    metrics = LoopMetrics()
    metrics.round_ended(FIRST, "two-stream", lifted((5, 10), (5, 10)))

    metrics.round_measured(SECOND, "two-stream", lifted((6, 10), (2, 10)))
    during, before = value(metrics, "lift", SECOND), value(metrics, "lift", FIRST)
    cancelled = rounds.RoundStatus(state=artifacts.WORK_STATE_CANCELLED)
    metrics.round_ended(SECOND, "two-stream", cancelled)

    assert during == pytest.approx(3)
    assert before is None
    assert value(metrics, "lift", SECOND) is None
    assert value(metrics, "lift", FIRST) == 1


def test_what_changed_longest_ago_makes_room() -> None:
    metrics = LoopMetrics()
    keys = [WorkKey(f"p{n}", "round", "r") for n in range(MOST_SHOWN + 1)]
    for key in keys:
        metrics.round_ended(key, "two-stream", found((8, 10)))

    shown = [value(metrics, "labels", key, "random") for key in (keys[0], keys[1], keys[-1])]

    assert shown == [None, 10, 10]
