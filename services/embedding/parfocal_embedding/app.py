"""The embedding service put together; the only place that names concrete classes."""

from __future__ import annotations

import grpc.aio

from parfocal.embedding.v1 import embedding_service_pb2_grpc as service_grpc
from parfocal_embedding.config import PREFIX, EmbeddingConfig
from parfocal_embedding.servicer import EmbeddingServicer
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.models.start_up import usable
from parfocal_runtime.server import Service
from parfocal_runtime.store import ObjectStore, open_store

_RETRY_SECONDS = 30.0

NAME = "parfocal.embedding.v1.EmbeddingService"


def build(config: EmbeddingConfig, store: ObjectStore | None = None) -> Service:
    """Return the embedding service, ready to be served.

    Args:
        config: Its settings.
        store: Where models and patches are; None opens the store that `config` names.
    """
    store = store or open_store(config.store_uri, s3=config.s3)
    options = SessionOptions(providers=config.providers, threads=config.session_threads)
    usable(options, variable=f"{PREFIX}_PROVIDERS")
    # Nobody tells this service to load a model again that was repaired.
    models = LoadedModels(ModelRepository(store), options=options, retry_seconds=_RETRY_SECONDS)
    servicer = EmbeddingServicer(store, models, config=config)

    def register(server: grpc.aio.Server) -> None:
        service_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)

    return Service(names=(NAME,), register=register)
