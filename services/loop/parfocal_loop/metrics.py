"""What rounds say of themselves to Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.works import WorkKey

MOST_SHOWN = 500
"""Pairs of project and strategy that are shown at a time; those that changed last."""

_Shown = dict[tuple[str, str], tuple[str, rounds.RoundStatus]]


class LoopMetrics(Collector):
    """Accuracy, error discovery and lift of the newest round of each project and strategy.

    A round that is being labelled shows what its labels say so far.
    """

    def __init__(self) -> None:
        self._ended: _Shown = {}
        self._under_way: _Shown = {}

    def round_measured(self, key: WorkKey, strategy: str, status: rounds.RoundStatus) -> None:
        """Show what the labels of a round say so far."""
        _show(self._under_way, key, strategy, status)

    def round_ended(self, key: WorkKey, strategy: str, status: rounds.RoundStatus) -> None:
        """Remember what a round found; one that did not succeed says nothing."""
        self._under_way.pop((key.project, strategy), None)
        if status.state == artifacts.WORK_STATE_SUCCEEDED:
            _show(self._ended, key, strategy, status)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; what is undefined is left out."""
        labels = ["project", "strategy", "round"]
        families = {
            name: GaugeMetricFamily(
                f"parfocal_round_{name}",
                text,
                labels=labels if name.startswith("lift") else [*labels, "share"],
            )
            for name, text in _FAMILIES.items()
        }
        for (project, strategy), (name, status) in {**self._ended, **self._under_way}.items():
            for family, share, value in _values(status):
                if math.isfinite(value):
                    where = [project, strategy, name, *([share] if share else [])]
                    families[family].add_metric(where, value)
        yield from families.values()


_FAMILIES = {
    "accuracy": "Share of proposals that people judged right.",
    "accuracy_lower": "Lower end of the confidence interval of the accuracy.",
    "accuracy_upper": "Upper end of the confidence interval of the accuracy.",
    "labels": "Labels that the accuracy rests on.",
    "error_discovery_rate": "Share of answers that found an error.",
    "error_discovery_rate_lower": "Lower end of the confidence interval of the rate.",
    "error_discovery_rate_upper": "Upper end of the confidence interval of the rate.",
    "lift": "Error discovery rate of the strategy over that of the random share.",
    "lift_lower": "Lower end of the confidence interval of the lift.",
    "lift_upper": "Upper end of the confidence interval of the lift.",
    "lift_difference": "Error discovery rate of the strategy minus that of the random share.",
    "lift_difference_lower": "Lower end of the confidence interval of the difference.",
    "lift_difference_upper": "Upper end of the confidence interval of the difference.",
}


def _show(shown: _Shown, key: WorkKey, strategy: str, status: rounds.RoundStatus) -> None:
    shown.pop((key.project, strategy), None)
    shown[(key.project, strategy)] = (key.id, status)
    if len(shown) > MOST_SHOWN:
        del shown[next(iter(shown))]


def _values(status: rounds.RoundStatus) -> Iterator[tuple[str, str, float]]:
    """Yield name, share and value; the lift belongs to no share."""
    # Only the random share estimates the model's accuracy without bias.
    for share, accuracy in (("random", status.accuracy), ("strategy", status.strategy_accuracy)):
        yield "labels", share, accuracy.labels
        yield "accuracy", share, accuracy.accuracy
        yield "accuracy_lower", share, accuracy.lower
        yield "accuracy_upper", share, accuracy.upper
    if not status.HasField("lift"):
        return
    for share, found in (("random", status.lift.random), ("strategy", status.lift.strategy)):
        yield from _interval("error_discovery_rate", share, found.rate)
    yield from _interval("lift", "", status.lift.ratio)
    yield from _interval("lift_difference", "", status.lift.difference)


def _interval(
    name: str, share: str, interval: rounds.IntervalEstimate
) -> Iterator[tuple[str, str, float]]:
    yield name, share, interval.value
    yield f"{name}_lower", share, interval.lower
    yield f"{name}_upper", share, interval.upper
