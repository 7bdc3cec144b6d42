"""Messages of the embedding service to the domain and back; checks what comes from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from parfocal.common.v1 import artifact_pb2 as artifact_pb
from parfocal.embedding.v1 import embedding_service_pb2 as pb
from parfocal_embedding.embed import Embedded, Range
from parfocal_embedding.encoder import Encoder, Stream, Vectors
from parfocal_runtime.errors import InvalidInput, naming
from parfocal_runtime.layout import checked_name

MOST_PATCHES = 4096

Resolve: TypeAlias = Callable[[str], str]
"""Turns what a caller named into a path of the object store, or raises."""

_STREAMS = {pb.PATCH_STREAM_IMAGE: Stream.IMAGE, pb.PATCH_STREAM_MASK: Stream.MASK}


def range_from_pb(request: pb.EmbedCandidatesRequest, resolve: Resolve) -> Range:
    """Read a request to embed a range.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If a path lies outside the store.
    """
    if request.stream not in _STREAMS:
        raise _invalid("stream", request.stream, "must be IMAGE or MASK")
    name, version = encoder_from_pb(request.encoder)
    return Range(
        candidates=_path_from_pb(request.candidates, resolve, field="candidates"),
        embeddings=_path_from_pb(request.embeddings, resolve, field="embeddings"),
        stream=_STREAMS[request.stream],
        encoder=name,
        version=version,
        start=request.start,
        stop=request.stop,
    )


def encoder_from_pb(encoder: artifact_pb.ModelVersion) -> tuple[str, int | None]:
    """Read name and version of an encoder; version 0 is the newest, None."""
    if encoder.version < 0:
        raise _invalid("encoder.version", encoder.version, "must not be negative")
    return checked_name(encoder.name, field="encoder.name"), encoder.version or None


def count_from_pb(request: pb.EmbedPatchesRequest) -> int:
    """Read how many patches came with a request."""
    if not 1 <= request.count <= MOST_PATCHES:
        raise _invalid("count", request.count, f"must be 1 to {MOST_PATCHES}")
    return request.count


def embedded_to_pb(embedded: Embedded) -> pb.EmbedCandidatesResponse:
    """Write what became of a range."""
    return pb.EmbedCandidatesResponse(
        encoder=_encoder_to_pb(embedded.encoder),
        rows=embedded.rows,
        dimensions=embedded.encoder.dimensions,
        already_done=embedded.already_done,
    )


def vectors_to_pb(encoder: Encoder, vectors: Vectors) -> pb.EmbedPatchesResponse:
    """Write vectors (N, d)."""
    rows, columns = vectors.shape
    return pb.EmbedPatchesResponse(
        encoder=_encoder_to_pb(encoder),
        embeddings=artifact_pb.FloatMatrix(
            rows=rows, columns=columns, data=vectors.astype("<f4", copy=False).tobytes()
        ),
    )


def _path_from_pb(uri: str, resolve: Resolve, *, field: str) -> str:
    if not uri:
        raise InvalidInput("ERROR_REASON_MISSING_FIELD", f"{field} must be set", field=field)
    with naming(field):
        return resolve(uri)


def _encoder_to_pb(encoder: Encoder) -> artifact_pb.ModelVersion:
    return artifact_pb.ModelVersion(name=encoder.name, version=encoder.version)


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {fault}, got {value!r}", field=field, value=value
    )
