"""What rounds say of themselves to Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.works import WorkKey


class LoopMetrics(Collector):
    """The accuracy of the newest finished round of each project and strategy."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str], tuple[str, rounds.RoundStatus]] = {}

    def round_ended(self, key: WorkKey, strategy: str, status: rounds.RoundStatus) -> None:
        """Remember what a round found; one that did not succeed says nothing."""
        if status.state == artifacts.WORK_STATE_SUCCEEDED:
            self._rounds[(key.project, strategy)] = (key.id, status)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; what is undefined is left out."""
        labels = ["project", "strategy", "round", "share"]
        families = {
            name: GaugeMetricFamily(f"parfocal_round_{name}", text, labels=labels)
            for name, text in _FAMILIES.items()
        }
        for (project, strategy), (name, status) in self._rounds.items():
            for share, estimate in _shares(status):
                where = [project, strategy, name, share]
                families["labels"].add_metric(where, estimate.labels)
                if math.isfinite(estimate.accuracy):
                    families["accuracy"].add_metric(where, estimate.accuracy)
                    families["accuracy_lower"].add_metric(where, estimate.lower)
                    families["accuracy_upper"].add_metric(where, estimate.upper)
        yield from families.values()


_FAMILIES = {
    "accuracy": "Share of proposals that people judged right.",
    "accuracy_lower": "Lower end of the confidence interval of the accuracy.",
    "accuracy_upper": "Upper end of the confidence interval of the accuracy.",
    "labels": "Labels that the accuracy rests on.",
}


def _shares(status: rounds.RoundStatus) -> Iterator[tuple[str, rounds.AccuracyEstimate]]:
    # Only the random share estimates the model's accuracy without bias.
    yield "random", status.accuracy
    yield "strategy", status.strategy_accuracy
