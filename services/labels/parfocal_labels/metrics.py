"""The service's own metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parfocal_labels.records import Label
from parfocal_labels.statistics import ProjectStatistics

_SECONDS = (0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300)


class LabelMetrics(Collector):
    """Figures of the projects as they were last read, and of the labels that came since start."""

    def __init__(self) -> None:
        self._statistics: tuple[ProjectStatistics, ...] = ()
        self._seconds = Histogram(
            "parfocal_label_seconds",
            "Seconds that people spent on a label, where measured.",
            ("project",),
            buckets=_SECONDS,
            registry=None,
        )

    def observe_labels(self, project: str, labels: Iterable[Label]) -> None:
        """Take in labels that were just acknowledged."""
        for label in labels:
            if label.seconds > 0:
                self._seconds.labels(project).observe(label.seconds)

    def update(self, statistics: Iterable[ProjectStatistics]) -> None:
        """Replace the figures of the projects."""
        self._statistics = tuple(statistics)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        pool = GaugeMetricFamily(
            "parfocal_pool_queries", "Queries that are not withdrawn.", labels=["project"]
        )
        unlabelled = GaugeMetricFamily(
            "parfocal_unlabelled_queries", "Queries that miss votes.", labels=["project"]
        )
        leased = GaugeMetricFamily(
            "parfocal_leased_queries", "Leases that people hold now.", labels=["project"]
        )
        age = GaugeMetricFamily(
            "parfocal_queue_age_seconds",
            "Age of the oldest query that misses votes.",
            labels=["project"],
        )
        labels = CounterMetricFamily("parfocal_labels", "Labels submitted.", labels=["project"])
        retractions = CounterMetricFamily(
            "parfocal_label_retractions", "Labels taken back.", labels=["project"]
        )
        for each in self._statistics:
            of = [each.project]
            pool.add_metric(of, each.pool)
            unlabelled.add_metric(of, each.unlabelled)
            leased.add_metric(of, each.leased)
            age.add_metric(of, each.queue_age_seconds)
            labels.add_metric(of, each.labels)
            retractions.add_metric(of, each.retractions)
        yield from (pool, unlabelled, leased, age, labels, retractions)
        yield from self._seconds.collect()
