"""gRPC methods of the embedding service."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import grpc.aio

from parfocal.embedding.v1 import embedding_service_pb2 as pb
from parfocal.embedding.v1 import embedding_service_pb2_grpc as service_grpc
from parfocal_embedding import convert
from parfocal_embedding.config import EmbeddingConfig
from parfocal_embedding.embed import embed_patches, embed_range
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag, Places, in_thread

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class EmbeddingServicer(service_grpc.EmbeddingServiceServicer):
    """Answers calls from the object store and the models in it; keeps no state of its own."""

    def __init__(
        self, store: ObjectStore, models: LoadedModels, *, config: EmbeddingConfig
    ) -> None:
        self._store = store
        self._models = models
        self._ranges = Places(config.parallel_ranges)

    async def EmbedCandidates(
        self, request: pb.EmbedCandidatesRequest, context: Context
    ) -> pb.EmbedCandidatesResponse:
        """Embed a range of a candidate set."""
        wanted = await in_thread(convert.range_from_pb, request, self._store.resolve)
        embedded = await self._ranges.in_thread(
            embed_range, self._store, self._models, wanted, cancel=CancelFlag()
        )
        return convert.embedded_to_pb(embedded)

    async def EmbedPatches(
        self, request: pb.EmbedPatchesRequest, context: Context
    ) -> pb.EmbedPatchesResponse:
        """Embed patches that are sent inline."""
        name, version = convert.encoder_from_pb(request.encoder)
        encoder, vectors = await in_thread(
            embed_patches,
            self._models,
            name,
            version,
            count=convert.count_from_pb(request),
            data=request.patches,
            cancel=CancelFlag(),
        )
        return convert.vectors_to_pb(encoder, vectors)

    async def FindSimilar(
        self, request: pb.FindSimilarRequest, context: Context
    ) -> pb.FindSimilarResponse:
        """Answer UNIMPLEMENTED: search by prototypes is not part of this version."""
        await _refuse(context)

    async def ProposeBackground(
        self, request: pb.ProposeBackgroundRequest, context: Context
    ) -> pb.ProposeBackgroundResponse:
        """Answer UNIMPLEMENTED: search by prototypes is not part of this version."""
        await _refuse(context)


async def _refuse(context: Context) -> NoReturn:
    text = "search by prototypes is not part of this version"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
