"""What was counted of models, for those who ask by the protocol."""

from __future__ import annotations

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip_convert import statistics_to_pb, version_from_pb
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.loading import not_found
from parfocal_runtime.tasks import in_thread


class StatisticsCalls:
    """Tells what was counted.

    Args:
        models: The models.
        statistics: The counts.
    """

    def __init__(self, models: LoadedModels, statistics: InferenceStatistics) -> None:
        self._models = models
        self._statistics = statistics

    async def counted(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Return the counts of the models that a request names."""
        wanted = version_from_pb(request.version, field="version")
        if request.name:
            await self._require(request.name, wanted)
        return pb.ModelStatisticsResponse(
            model_stats=[
                statistics_to_pb(name, version, counted)
                for (name, version), counted in self._statistics.snapshots().items()
                if request.name in ("", name) and wanted in (None, version)
            ]
        )

    async def _require(self, name: str, version: int | None) -> None:
        versions = await in_thread(self._models.versions, name)
        if not versions or version not in (None, *versions):
            raise not_found(name, version)
