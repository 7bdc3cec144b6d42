"""Memory of each model, as a source of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parfocal_runtime.models.footprint import Footprint


class ModelMemory(Collector):
    """How much memory each model version that is loaded takes.

    Args:
        footprints: Returns it by name and version.
    """

    def __init__(self, footprints: Callable[[], Mapping[tuple[str, int], Footprint]]) -> None:
        self._footprints = footprints

    def collect(self) -> Iterable[Metric]:
        """Return the memory as metrics."""
        memory = GaugeMetricFamily(
            "parfocal_model_memory_bytes",
            "Memory that a loaded model takes at its largest, as told from its graph.",
            labels=["model", "version", "kind"],
        )
        for (name, version), footprint in self._footprints().items():
            for kind, taken in (
                ("weights", footprint.weights),
                ("activations", footprint.activations),
            ):
                memory.add_metric([name, str(version), kind], taken)
        return [memory]
