"""Embed the patches of a candidate set by reference, or patches that came with a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorstore as ts

from parfocal_embedding.embedding_array import CHUNK_ROWS, EmbeddingArray
from parfocal_embedding.encoder import Encoder, Stream, Vectors
from parfocal_runtime.arrays import finish_read, open_array
from parfocal_runtime.errors import InvalidInput, NotFound, naming
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

PIECE_ROWS = 16 * CHUNK_ROWS
"""Most rows of a range that are held at a time."""


@dataclass(frozen=True)
class Range:
    """A range of a candidate set to embed.

    Attributes:
        candidates: Folder of the candidate set.
        embeddings: Path of the array to write.
        stream: Which patches.
        encoder: Name of the encoder.
        version: Its version; None is the newest.
        start: First row.
        stop: End of the range; 0 is the end of the set.
    """

    candidates: str
    embeddings: str
    stream: Stream
    encoder: str
    version: int | None
    start: int
    stop: int


@dataclass(frozen=True)
class Embedded:
    """A range that is embedded.

    Attributes:
        encoder: The encoder that embedded.
        rows: Rows of the range.
        already_done: Whether it was there before.
    """

    encoder: Encoder
    rows: int
    already_done: bool


def embed_range(
    store: ObjectStore, models: LoadedModels, wanted: Range, *, cancel: CancelFlag
) -> Embedded:
    """Embed a range of a candidate set into its array; a finished range is not done again.

    Raises:
        NotFound: If the set or the encoder is not there.
        InvalidInput: If the range lies outside the set or off the grid, the encoder does not read
            such patches, or a patch is damaged.
        WrongState: If the encoder is not fit to serve.
        Unavailable: If the store does not answer.
        AlreadyExists: If the array holds other embeddings (`ERROR_REASON_ARTIFACT_EXISTS`).
        Cancelled: If `cancel` is set.
    """
    encoder = _encoder(models, wanted.encoder, wanted.version)
    encoder.check_stream(wanted.stream)
    with naming("candidates"):
        patches = _open_patches(store, wanted)
    encoder.check_patches(tuple(patches.shape), patches.dtype.numpy_dtype, field="candidates")
    count = int(patches.shape[0])
    start, stop = _checked_range(wanted.start, wanted.stop, count)
    target = EmbeddingArray(
        store,
        wanted.embeddings,
        contents={
            "candidates": wanted.candidates,
            "encoder": encoder.label,
            "stream": wanted.stream.value,
        },
    )
    with naming("embeddings"):
        array = target.open(rows=count, dimensions=encoder.dimensions)
        done = target.has(start, stop)
    if not done:
        for first, vectors in _encode_range(
            encoder, patches, start, stop, stream=wanted.stream, cancel=cancel
        ):
            target.write(array, first, vectors)
        target.finish(start, stop)
    return Embedded(encoder, stop - start, done)


def embed_patches(
    models: LoadedModels,
    name: str,
    version: int | None,
    *,
    count: int,
    data: bytes,
    cancel: CancelFlag,
) -> tuple[Encoder, Vectors]:
    """Embed patches that came with a request.

    Args:
        models: Where encoders are.
        name: Name of the encoder.
        version: Its version; None is the newest.
        count: Number of patches.
        data: The patches one after the other, row by row, in the encoder's type.
        cancel: Stops the work.

    Raises:
        NotFound: If there is no such encoder.
        InvalidInput: If the bytes are not `count` patches of the encoder
            (`ERROR_REASON_SHAPE_MISMATCH`), or hold other values than patches of its stream.
        WrongState: If the encoder is not fit to serve.
        Cancelled: If `cancel` is set.
    """
    encoder = _encoder(models, name, version)
    expected = count * int(np.prod(encoder.side)) * encoder.dtype.itemsize
    if len(data) != expected:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{count} patches of {encoder.side} {encoder.dtype} are {expected} bytes, "
            f"got {len(data)}",
            field="patches",
            shape=len(data),
            expected=expected,
        )
    patches = np.frombuffer(data, encoder.dtype).reshape(count, *encoder.side)
    encoder.check_values(patches, encoder.stream, field="patches")
    return encoder, encoder.encode(patches, cancel=cancel)


def _encoder(models: LoadedModels, name: str, version: int | None) -> Encoder:
    with naming("encoder"):
        return Encoder(models.get(name, version))


def _open_patches(store: ObjectStore, wanted: Range) -> ts.TensorStore:
    # The table is written last: patches without one may be half written.
    table = f"{wanted.candidates}/table.parquet"
    if not store.exists(table):
        raise NotFound(
            "ERROR_REASON_ARTIFACT_NOT_FOUND",
            f"there is no complete candidate set {wanted.candidates!r}",
            path=table,
        )
    return open_array(store, f"{wanted.candidates}/patches.zarr/{wanted.stream.value}")


def _checked_range(start: int, stop: int, count: int) -> tuple[int, int]:
    stop = stop or count
    inside = 0 <= start < stop <= count or start == stop == count == 0
    on_grid = start % CHUNK_ROWS == 0 and (stop % CHUNK_ROWS == 0 or stop == count)
    if not (inside and on_grid):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"rows {start} to {stop} must lie in 0 to {count}, begin at a multiple of "
            f"{CHUNK_ROWS} and end at one or at {count}",
            field="start" if start % CHUNK_ROWS or start < 0 else "stop",
            value=f"{start}-{stop}",
        )
    return start, stop


def _encode_range(
    encoder: Encoder,
    patches: ts.TensorStore,
    start: int,
    stop: int,
    *,
    stream: Stream,
    cancel: CancelFlag,
) -> Iterator[tuple[int, Vectors]]:
    """Yield the vectors of a range in pieces, each with its first row.

    Reads ahead by one batch while the encoder works on the one before.
    """
    first, vectors = start, _room(encoder, stop - start)
    coming = ((rows, patches[rows].read()) for rows in encoder.batches(start, stop))
    ahead = next(coming, None)
    while ahead is not None:
        rows, reading = ahead
        with naming("candidates"):
            patch = finish_read(patches, reading)
            encoder.check_values(patch, stream, field="candidates")
        ahead = next(coming, None)
        at = slice(rows.start - first, rows.stop - first)
        vectors[at] = encoder.encode(patch, cancel=cancel)
        if at.stop == len(vectors):
            yield first, vectors
            first, vectors = rows.stop, _room(encoder, stop - rows.stop)


def _room(encoder: Encoder, rows: int) -> Vectors:
    return np.empty((min(rows, PIECE_ROWS), encoder.dimensions), np.float32)
