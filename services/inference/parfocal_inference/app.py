"""Puts the inference service together; the only place that names concrete classes."""

from __future__ import annotations

import grpc.aio

from parfocal.inference.v1 import inference_service_pb2_grpc as service_grpc
from parfocal_inference.batching import BatchingExecutor
from parfocal_inference.config import PREFIX, InferenceConfig
from parfocal_inference.memory_metrics import ModelMemory
from parfocal_inference.oip_servicer import oip_service
from parfocal_inference.servicer import InferenceServicer
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.models.start_up import usable
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.server import Service
from parfocal_runtime.store import ObjectStore, open_store

NAME = "parfocal.inference.v1.InferenceService"


def build(config: InferenceConfig, store: ObjectStore | None = None) -> Service:
    """Return the inference service with the Open Inference Protocol, ready to be served.

    Both work with the same loaded models.

    Args:
        config: Its settings.
        store: Where models and images are; None opens the store that `config` names.

    Raises:
        ConfigError: If an execution provider that `config` demands cannot be used here.
    """
    store = store or open_store(config.store_uri, s3=config.s3)
    options = SessionOptions(
        providers=config.providers,
        threads=config.session_threads,
        gpu_memory_bytes=config.gpu_memory_bytes,
    )
    usable(options, variable=f"{PREFIX}_PROVIDERS")
    models = LoadedModels(
        ModelRepository(store), options=options, memory_bytes=config.model_memory_bytes
    )
    watcher = ModelWatcher(models, interval_seconds=config.model_poll_seconds)
    statistics = InferenceStatistics(models.loaded)
    executor = BatchingExecutor(statistics)
    protocol = oip_service(models, watcher, executor, statistics)
    servicer = InferenceServicer(store, models, config=config)

    def register(server: grpc.aio.Server) -> None:
        service_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        protocol.register(server)

    async def stop() -> None:
        await protocol.stop()
        executor.close()

    return Service(
        names=(NAME, *protocol.names),
        register=register,
        start=protocol.start,
        stop=stop,
        ready=protocol.ready,
        collectors=(*protocol.collectors, ModelMemory(models.footprints)),
    )
