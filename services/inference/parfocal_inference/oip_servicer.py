"""The Open Inference Protocol over the loaded models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc

from parfocal_inference.answers import Answers
from parfocal_inference.mlserver_servicer import MlserverServicer
from parfocal_inference.oip.mlserver import model_repository_pb2_grpc as mlserver_grpc
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as pb_grpc
from parfocal_inference.oip_convert import config_to_pb, version_from_pb
from parfocal_inference.repository_calls import RepositoryCalls
from parfocal_inference.serving import Executor, Inference
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_inference.statistics_calls import StatisticsCalls
from parfocal_inference.streams import answered_in_order
from parfocal_inference.tensors import spec_to_pb
from parfocal_runtime.models.config_pbtxt import PLATFORM
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.server import Service
from parfocal_runtime.tasks import in_thread

SERVICE_NAME = "inference.GRPCInferenceService"
MLSERVER_NAME = "inference.model_repository.ModelRepositoryService"
SERVER_NAME = "parfocal"
EXTENSIONS = ("model_repository", "schedule_policy", "model_configuration", "statistics")
"""Triton's names of what is spoken beyond the protocol."""

_FIRST_LOOK_SECONDS = 10.0
_AT_ONCE_IN_A_STREAM = 16

Context = grpc.aio.ServicerContext[Any, Any]


class OipServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the calls of the protocol.

    Args:
        models: The models.
        watcher: Keeps them fresh; the server is ready once it has looked.
        answers: Answers inference requests.
        repository: Answers calls about the repository.
        statistics: Answers what was counted.
    """

    def __init__(
        self,
        models: LoadedModels,
        watcher: ModelWatcher,
        *,
        answers: Answers,
        repository: RepositoryCalls,
        statistics: StatisticsCalls,
    ) -> None:
        self._models = models
        self._watcher = watcher
        self._answers = answers
        self._repository = repository
        self._statistics = statistics

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        """Return true."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        """Return whether the repository has been seen."""
        return pb.ServerReadyResponse(ready=self._watcher.has_looked)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        """Return whether a version is loaded and passed its self-test."""
        wanted = version_from_pb(request.version, field="version")
        ready = await in_thread(self._models.is_ready, request.name, wanted)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Return the server's name, version and extensions of the protocol."""
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=_server_version(), extensions=EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Return the inputs, outputs and versions of a model."""
        model = await self._answers.model(request.name, request.version, field="version")
        versions = await in_thread(self._models.versions, request.name)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(number) for number in versions],
            platform=PLATFORM,
            inputs=[spec_to_pb(spec) for spec in model.session.inputs],
            outputs=[spec_to_pb(spec) for spec in model.session.outputs],
        )

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Run a model once."""
        return await self._answers.answer(request)

    def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Run models once for each request."""
        answer = self._answers.answer_in_stream
        return answered_in_order(request_iterator, answer, at_once=_AT_ONCE_IN_A_STREAM)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Context
    ) -> pb.ModelConfigResponse:
        """Return how a model is served."""
        model = await self._answers.model(request.name, request.version, field="version")
        return pb.ModelConfigResponse(config=config_to_pb(model))

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return what was counted."""
        return await self._statistics.counted(request)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """Return the versions of the repository."""
        return await self._repository.index(request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model."""
        return await self._repository.load(request)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model."""
        return await self._repository.unload(request)


def oip_service(
    models: LoadedModels,
    watcher: ModelWatcher,
    executor: Executor,
    statistics: InferenceStatistics,
) -> Service:
    """Return the protocol as a service; it starts and stops `watcher`."""
    repository = RepositoryCalls(models)
    servicer = OipServicer(
        models,
        watcher,
        answers=Answers(models, Inference(executor, statistics)),
        repository=repository,
        statistics=StatisticsCalls(models, statistics),
    )

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        mlserver_grpc.add_ModelRepositoryServiceServicer_to_server(
            MlserverServicer(repository), server
        )

    async def start() -> None:
        watcher.start()
        await in_thread(watcher.wait, _FIRST_LOOK_SECONDS)

    async def stop() -> None:
        await in_thread(watcher.stop)

    return Service(
        names=(SERVICE_NAME, MLSERVER_NAME),
        register=register,
        start=start,
        stop=stop,
        ready=lambda: watcher.has_looked,
        collectors=(statistics,),
    )


def _server_version() -> str:
    try:
        return version("parfocal")
    except PackageNotFoundError:
        return "0+unknown"
