"""The Open Inference Protocol over the loaded models."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as pb_grpc
from parfocal_inference.serving import Inference, ThreadExecutor
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_inference.tensors import inputs_from_pb, outputs_from_pb, outputs_to_pb, spec_to_pb
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.cards import CardFields
from parfocal_runtime.models.config_pbtxt import PLATFORM
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.server import Service
from parfocal_runtime.tasks import in_thread

SERVICE_NAME = "inference.GRPCInferenceService"
SERVER_NAME = "parfocal"

_FIRST_LOOK_SECONDS = 10.0

Context = grpc.aio.ServicerContext[Any, Any]


class OipServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the calls of the protocol.

    Args:
        models: The models.
        watcher: Keeps them fresh; the server is ready once it has looked.
        inference: Runs them.
    """

    def __init__(self, models: LoadedModels, watcher: ModelWatcher, inference: Inference) -> None:
        self._models = models
        self._watcher = watcher
        self._inference = inference

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
        """Return the server's name and version."""
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=_server_version())

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Return the inputs, outputs and versions of a model."""
        wanted = version_from_pb(request.version, field="version")
        model = await self._model(request.name, wanted)
        versions = await in_thread(self._models.versions, request.name)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(number) for number in versions],
            platform=PLATFORM,
            inputs=[spec_to_pb(spec) for spec in model.session.inputs],
            outputs=[spec_to_pb(spec) for spec in model.session.outputs],
            properties=_properties(model.card),
        )

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Run a model once."""
        started = time.monotonic_ns()
        wanted = version_from_pb(request.model_version, field="model_version")
        model = await self._model(request.model_name, wanted)
        try:
            inputs = inputs_from_pb(request, model.session.inputs)
            outputs = outputs_from_pb(request, model.session.outputs)
        except InvalidInput:
            self._inference.refused(model)
            raise
        found = await self._inference.run(model, inputs, outputs, started_ns=started)
        response = pb.ModelInferResponse(
            model_name=model.name, model_version=str(model.version), id=request.id
        )
        outputs_to_pb(response, found, model.session.outputs)
        return response

    async def _model(self, name: str, wanted: int | None) -> LoadedModel:
        # A thread costs more than the look-up; it is needed only where the store is asked.
        model = self._models.at_hand(name, wanted)
        return model if model else await in_thread(self._models.get, name, wanted)


def oip_service(models: LoadedModels, watcher: ModelWatcher) -> Service:
    """Return the protocol as a service; it starts and stops `watcher`."""
    statistics = InferenceStatistics(models.loaded)
    servicer = OipServicer(models, watcher, Inference(ThreadExecutor(), statistics))

    async def start() -> None:
        watcher.start()
        await in_thread(watcher.wait, _FIRST_LOOK_SECONDS)

    async def stop() -> None:
        await in_thread(watcher.stop)

    return Service(
        names=(SERVICE_NAME,),
        register=lambda server: pb_grpc.add_GRPCInferenceServiceServicer_to_server(
            servicer, server
        ),
        start=start,
        stop=stop,
        ready=lambda: watcher.has_looked,
        collectors=(statistics,),
    )


def version_from_pb(text: str, *, field: str) -> int | None:
    """Return the version that a request wants; None is the newest.

    Raises:
        InvalidInput: If it is no decimal number (`ERROR_REASON_INVALID_FIELD`).
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} must be a decimal number, got {text[:40]!r}",
            field=field,
            value=text,
        )
    return int(text)


def _properties(card: CardFields) -> dict[str, str]:
    facts = {
        "kind": card.kind,
        "stream": card.stream,
        "voxel_size_nm": ",".join(f"{side:g}" for side in card.voxel_size_nm or ()),
        "halo": ",".join(str(side) for side in card.halo if any(card.halo)),
    }
    return {name: value for name, value in facts.items() if value}


def _server_version() -> str:
    try:
        return version("parfocal")
    except PackageNotFoundError:
        return "0+unknown"
