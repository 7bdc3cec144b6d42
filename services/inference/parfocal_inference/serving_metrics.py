"""Counts of inference requests, under Triton's names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from parfocal_inference.joint_runs import StageTimes
from parfocal_runtime.histograms import Histogram, add_histogram

FAILURES = ("BACKEND", "CANCELED", "OTHER", "REJECTED")
"""Why requests fail, in Triton's words."""

_COUNTS = {
    "nv_inference_request_success": "Requests that were answered.",
    "nv_inference_count": "Rows that were answered.",
    "nv_inference_exec_count": "Runs of the model.",
    "nv_inference_request_duration_us": "Microseconds from the arrival of requests to the answer.",
    "nv_inference_queue_duration_us": "Microseconds that requests waited to run.",
    "nv_inference_compute_input_duration_us": "Microseconds that inputs took to prepare.",
    "nv_inference_compute_infer_duration_us": "Microseconds that the model ran.",
    "nv_inference_compute_output_duration_us": "Microseconds that outputs took to prepare.",
}

_REQUEST_US = "nv_inference_request_duration_histogram_us"
_QUEUE_US = "nv_inference_queue_duration_histogram_us"
_INPUT_US = "nv_inference_compute_input_duration_histogram_us"
_INFER_US = "nv_inference_compute_infer_duration_histogram_us"
_OUTPUT_US = "nv_inference_compute_output_duration_histogram_us"
_FIRST_MS = "nv_inference_first_response_histogram_ms"

# The bounds that Triton takes where nobody says others.
_HISTOGRAMS: dict[str, tuple[str, tuple[int, ...]]] = {
    _REQUEST_US: ("Microseconds of a request.", (1000, 5000, 25000, 50000, 100000)),
    _QUEUE_US: ("Microseconds that a request waited.", (100, 1000, 5000, 10000, 50000)),
    _INPUT_US: ("Microseconds that its inputs took.", (100, 500, 1000, 5000, 10000)),
    _INFER_US: ("Microseconds that the model ran.", (1000, 5000, 25000, 50000, 100000)),
    _OUTPUT_US: ("Microseconds that its outputs took.", (100, 500, 1000, 5000, 10000)),
    _FIRST_MS: ("Milliseconds to the first answer, which is the only one.", (100, 500, 2000, 5000)),
}
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


def _histograms() -> dict[str, Histogram]:
    return {name: Histogram(bounds) for name, (_, bounds) in _HISTOGRAMS.items()}


class RunTimes(NamedTuple):
    """Where the time of a request went, in nanoseconds."""

    request_ns: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int = 0


@dataclass
class RunCounts:
    """How often the model ran with some number of rows, and how long that took in all."""

    runs: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0


@dataclass
class ModelStatistics:
    """Counts of one model version; safe from many threads.

    Attributes:
        waiting: Requests that wait or run now.
        queued: Requests of which rows wait for a run now.
        by_rows: Runs by their number of rows.
        histograms: Times of requests that were answered, by metric name.
        last_ended_ms: When the last request ended, milliseconds since 1970.
    """

    successes: int = 0
    rows: int = 0
    runs: int = 0
    waiting: int = 0
    queued: int = 0
    request_ns: int = 0
    queue_ns: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0
    failed_ns: int = 0
    last_ended_ms: int = 0
    by_rows: dict[int, RunCounts] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    histograms: dict[str, Histogram] = field(default_factory=_histograms, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def succeeded(self, *, rows: int, times: RunTimes) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._ended()
            self.successes += 1
            self.rows += rows
            self.request_ns += times.request_ns
            self.queue_ns += times.queue_ns
            self.compute_input_ns += times.compute_input_ns
            self.compute_infer_ns += times.compute_infer_ns
            self.compute_output_ns += times.compute_output_ns
            histograms = self.histograms
            histograms[_REQUEST_US].add(times.request_ns / 1000)
            histograms[_QUEUE_US].add(times.queue_ns / 1000)
            histograms[_INPUT_US].add(times.compute_input_ns / 1000)
            histograms[_INFER_US].add(times.compute_infer_ns / 1000)
            histograms[_OUTPUT_US].add(times.compute_output_ns / 1000)
            histograms[_FIRST_MS].add(times.request_ns / 1_000_000)

    def ran(self, rows: int, times: StageTimes) -> None:
        """Count a run of the model with rows of one request or several."""
        with self._lock:
            self.runs += 1
            counts = self.by_rows.setdefault(rows, RunCounts())
            counts.runs += 1
            counts.compute_input_ns += times.input_ns
            counts.compute_infer_ns += times.infer_ns
            counts.compute_output_ns += times.output_ns

    def failed(self, reason: str, *, request_ns: int = 0) -> None:
        """Count a request that failed, for one of `FAILURES`, after `request_ns` nanoseconds."""
        with self._lock:
            self._ended()
            self.failures[reason] += 1
            self.failed_ns += request_ns

    @contextmanager
    def pending(self) -> Iterator[None]:
        """Count a request as waiting or running inside the block."""
        with self._lock:
            self.waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self.waiting -= 1

    def snapshot(self) -> ModelStatistics:
        """Return the counts of this moment, which all agree with each other."""
        with self._lock:
            return replace(
                self,
                by_rows={rows: replace(counts) for rows, counts in self.by_rows.items()},
                failures=dict(self.failures),
                histograms=deepcopy(self.histograms),
                _lock=threading.Lock(),
            )

    def values(self) -> dict[str, float]:
        """Return the counts by metric name."""
        return {
            "nv_inference_request_success": self.successes,
            "nv_inference_count": self.rows,
            "nv_inference_exec_count": self.runs,
            "nv_inference_request_duration_us": self.request_ns // 1000,
            "nv_inference_queue_duration_us": self.queue_ns // 1000,
            "nv_inference_compute_input_duration_us": self.compute_input_ns // 1000,
            "nv_inference_compute_infer_duration_us": self.compute_infer_ns // 1000,
            "nv_inference_compute_output_duration_us": self.compute_output_ns // 1000,
        }

    def totals(self) -> dict[str, float]:
        """Return the sums of the histograms by metric name."""
        return {
            _REQUEST_US: self.request_ns / 1000,
            _QUEUE_US: self.queue_ns / 1000,
            _INPUT_US: self.compute_input_ns / 1000,
            _INFER_US: self.compute_infer_ns / 1000,
            _OUTPUT_US: self.compute_output_ns / 1000,
            _FIRST_MS: self.request_ns / 1_000_000,
        }

    def rows_of_runs(self) -> Histogram:
        """Return the runs by their number of rows."""
        histogram = Histogram(_ROWS)
        for rows, counts in self.by_rows.items():
            histogram.add(rows, counts.runs)
        return histogram

    def _ended(self) -> None:
        self.last_ended_ms = time.time_ns() // 1_000_000


class InferenceStatistics(Collector):
    """Counts by model and version, as a source of metrics.

    Triton's counters have no `_total` at their end; the client library would add one, so they are
    given out untyped.

    Args:
        loaded: Returns the names and versions in memory, which are shown from the start.
    """

    def __init__(self, loaded: Callable[[], Iterable[tuple[str, int]]]) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()
        self._models: dict[tuple[str, int], ModelStatistics] = {}

    def of(self, name: str, version: int) -> ModelStatistics:
        """Return the counts of a model version."""
        known = self._models.get((name, version))
        if known is not None:
            return known
        with self._lock:
            return self._models.setdefault((name, version), ModelStatistics())

    def snapshots(self) -> dict[tuple[str, int], ModelStatistics]:
        """Return the counts of each model version, sorted by name and version."""
        return {key: counted.snapshot() for key, counted in self._all()}

    def collect(self) -> Iterable[Metric]:
        """Return all counts as metrics."""
        metrics = {name: Metric(name, text, "unknown") for name, text in _COUNTS.items()}
        failure = Metric("nv_inference_request_failure", "Requests that failed.", "unknown")
        pending = Metric(
            "nv_inference_pending_request_count", "Requests that wait or run now.", "gauge"
        )
        queued = Metric(
            "parfocal_inference_queue_depth", "Requests that wait for a run now.", "gauge"
        )
        histograms = {
            name: Metric(name, text, "histogram") for name, (text, _) in _HISTOGRAMS.items()
        }
        runs = Metric("parfocal_inference_run_rows", "Rows of a run of the model.", "histogram")
        for (name, version), counted in self.snapshots().items():
            labels = {"model": name, "version": str(version)}
            for metric, value in counted.values().items():
                metrics[metric].add_sample(metric, labels, value)
            for reason, count in counted.failures.items():
                failure.add_sample(failure.name, {**labels, "reason": reason}, count)
            pending.add_sample(pending.name, labels, counted.waiting)
            queued.add_sample(queued.name, labels, counted.queued)
            for metric, total in counted.totals().items():
                cumulated = counted.histograms[metric].cumulated()
                add_histogram(histograms[metric], labels, cumulated, total)
            rows = sum(rows * counts.runs for rows, counts in counted.by_rows.items())
            add_histogram(runs, labels, counted.rows_of_runs().cumulated(), rows)
        return [*metrics.values(), failure, pending, queued, *histograms.values(), runs]

    def _all(self) -> list[tuple[tuple[str, int], ModelStatistics]]:
        for key in self._loaded():
            self.of(*key)
        with self._lock:
            return sorted(self._models.items(), key=lambda item: item[0])
