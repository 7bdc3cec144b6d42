"""Vectors of patches."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from parfocal._boxes import model_to_pb
from parfocal._choices import chosen
from parfocal._connection import Connection
from parfocal._errors import InvalidRequestError
from parfocal._matrix import matrix_from_pb
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.embedding.v1 import embedding_service_pb2 as messages
from parfocal.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

_STREAMS = {
    "image": messages.PATCH_STREAM_IMAGE,
    "mask": messages.PATCH_STREAM_MASK,
}
_LONG_SECONDS = 3600.0
# Patches of one call; leaves room for the largest side in a message.
_BATCH_BYTES = 32 << 20
_MOST = 4096


class Embeddings:
    """Embeddings: one vector per candidate or patch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = EmbeddingServiceStub(connection.channel)

    def embed_candidates(
        self,
        candidates: str,
        embeddings: str,
        *,
        stream: Literal["image", "mask"],
        encoder: str | ModelVersion,
        start: int = 0,
        stop: int = 0,
        timeout_seconds: float = _LONG_SECONDS,
    ) -> messages.EmbedCandidatesResponse:
        """Embed a range of a candidate set by reference; a range that is there stays.

        Args:
            candidates: Folder of the set.
            embeddings: Path of the array (N, d) float32 to write.
            stream: Which patches.
            encoder: `name` (its latest version) or `name/version`.
            start: First candidate of the range.
            stop: End of the range, exclusive; 0 is the end of the set.
            timeout_seconds: How long it may take.

        Example:
            >>> client.embeddings.embed_candidates(  # doctest: +SKIP
            ...     "projects/vnc/candidates/set-1",
            ...     "projects/vnc/embeddings/set-1/mask-vae-1.zarr",
            ...     stream="mask", encoder="mask-vae",
            ... ).dimensions
            20
        """
        request = messages.EmbedCandidatesRequest(
            candidates=candidates,
            embeddings=embeddings,
            stream=chosen("stream", stream, _STREAMS),
            encoder=model_to_pb(encoder),
            start=start,
            stop=stop,
        )
        return self._connection.call(
            self._stub.EmbedCandidates, request, timeout_seconds=timeout_seconds
        )

    def embed_patches(
        self, patches: npt.NDArray[Any], *, encoder: str | ModelVersion
    ) -> npt.NDArray[np.float32]:
        """Return the vectors (N, d) of patches that are sent along.

        Args:
            patches: (N, side, side): uint8 pictures, or int8 masks of -1, 0 and 1.
            encoder: `name` (its latest version) or `name/version`.

        Raises:
            InvalidRequestError: If patches are not of that shape and type.

        Example:
            >>> vectors = client.embeddings.embed_patches(patches, encoder="image-vae")
            ... # doctest: +SKIP
        """
        if patches.ndim != 3 or not len(patches) or patches.dtype not in (np.uint8, np.int8):
            raise InvalidRequestError(
                "patches must be (N, side, side) of type uint8 or int8 with N at least 1, got "
                f"shape {patches.shape} of type {patches.dtype}",
                reason="ERROR_REASON_INVALID_FIELD",
                metadata={"field": "patches", "value": str(patches.shape)},
            )
        size = max(1, min(_MOST, _BATCH_BYTES // max(1, patches[0].nbytes)))
        batches = [patches[start : start + size] for start in range(0, len(patches), size)]
        return np.concatenate([self._embedded(batch, model_to_pb(encoder)) for batch in batches])

    def _embedded(self, batch: npt.NDArray[Any], encoder: ModelVersion) -> npt.NDArray[np.float32]:
        request = messages.EmbedPatchesRequest(
            encoder=encoder, count=len(batch), patches=batch.tobytes()
        )
        return matrix_from_pb(self._connection.call(self._stub.EmbedPatches, request).embeddings)
