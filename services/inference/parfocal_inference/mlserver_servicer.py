"""MLServer's service for the repository."""

from __future__ import annotations

from typing import Any

import grpc

from parfocal_inference.oip.mlserver import model_repository_pb2_grpc as pb_grpc
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.repository_calls import RepositoryCalls

Context = grpc.aio.ServicerContext[Any, Any]


class MlserverServicer(pb_grpc.ModelRepositoryServiceServicer):
    """Answers the calls that MLServer has in a service of its own.

    Args:
        repository: What answers them.
    """

    def __init__(self, repository: RepositoryCalls) -> None:
        self._repository = repository

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
