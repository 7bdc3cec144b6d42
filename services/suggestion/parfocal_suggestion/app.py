"""The suggestion service put together."""

from __future__ import annotations

import grpc

from parfocal.suggestion.v1 import suggestion_service_pb2_grpc as service_grpc
from parfocal_runtime.server import Service
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_suggestion.config import SuggestionConfig
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.servicer import SuggestionServicer

SERVICE = "parfocal.suggestion.v1.SuggestionService"


def build(config: SuggestionConfig, store: ObjectStore | None = None) -> Service:
    """Return the service over the object store of the configuration, or over `store`."""
    memory = Memory(config.memory_bytes)
    servicer = SuggestionServicer(store or open_store(config.store_uri, s3=config.s3), memory)

    def register(server: grpc.aio.Server) -> None:
        service_grpc.add_SuggestionServiceServicer_to_server(servicer, server)

    return Service(names=(SERVICE,), register=register)
