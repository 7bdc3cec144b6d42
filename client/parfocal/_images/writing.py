"""A pyramid of arrays, written slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal._errors import UnavailableError
from parfocal._images.ngff import AXES
from parfocal._images.place import Place
from parfocal._images.pyramid import level_shapes
from parfocal._images.source import Array, ImageSource, Triple

# Chunks are what is read at least, shards what is written at once: one object each.
_CHUNK = (16, 128, 128)
_SHARD_SIDE = 1024
# A slab of the source takes at most so much memory, unless one row of shards already does.
_SLAB_BYTES = 128 << 20

_ENDIAN: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
_ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": 3}}


def create_level(
    group: Place, level: int, *, shape: Triple, dtype: npt.DTypeLike
) -> ts.TensorStore:
    """Create the sharded Zarr v3 array of one level, in place of what is left of an older one."""
    chunk = [min(side, length) for side, length in zip(_CHUNK, shape, strict=True)]
    shard = [chunk[0], *(_shard_side(*pair) for pair in zip(chunk[1:], shape[1:], strict=True))]
    sharding = {
        "chunk_shape": chunk,
        "codecs": [_ENDIAN, _ZSTD],
        "index_codecs": [_ENDIAN, {"name": "crc32c"}],
        "index_location": "end",
    }
    metadata = {
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": 0,
        "dimension_names": list(AXES),
    }
    spec = {
        "driver": "zarr3",
        "kvstore": dict(group.below(str(level)).spec),
        "metadata": metadata,
    }
    with _store_named(group.uri):
        return ts.open(spec, create=True, delete_existing=True).result()


def write_pyramid(
    source: ImageSource,
    arrays: list[ts.TensorStore],
    *,
    convert: Callable[[Array], Array],
    halve: Callable[[Array], Array],
    uri: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write every level of `source`, reading it once.

    While one slab is being stored the next is read; no more than two are held.

    Args:
        source: The image.
        arrays: The levels, finest first; each is half of the one before in plane.
        convert: Makes a slab of the source into one of the finest level.
        halve: Makes a slab of one level into one of the next.
        uri: What to call the image in messages.
        progress: Called with the voxels done and their number in all.
    """
    total, done = int(np.prod(source.shape)), 0
    pending: list[Any] = []
    for sections, rows in slabs(source.shape, source.dtype.itemsize):
        block = convert(source.read(sections, rows))
        done += block.size
        futures = []
        for array in arrays:
            part = array[sections, rows.start : rows.start + block.shape[1], :]
            futures.append(part.write(block))
            if array is not arrays[-1]:
                block, rows = halve(block), slice(rows.start // 2, rows.stop)
        _finish(pending, uri)
        pending = futures
        if progress is not None:
            progress(done, total)
    _finish(pending, uri)


def slabs(shape: Triple, itemsize: int) -> Iterator[tuple[slice, slice]]:
    """Yield sections and rows that cover an image, so that no chunk has a part in two slabs.

    The first row of a slab is one of every level's rows too.
    """
    z, y, x = shape
    depth = min(_CHUNK[0], z)
    unit = max(_SHARD_SIDE, 2 ** len(level_shapes(shape)))
    fitting = _SLAB_BYTES // (depth * x * itemsize)
    height = max(unit, fitting // unit * unit)
    for z0 in range(0, z, depth):
        for y0 in range(0, y, height):
            yield slice(z0, min(z0 + depth, z)), slice(y0, min(y0 + height, y))


def _shard_side(chunk: int, length: int) -> int:
    return chunk * -(-min(_SHARD_SIDE, length) // chunk)


def _finish(writes: list[Any], uri: str) -> None:
    with _store_named(uri):
        for write in writes:
            write.result()


@contextmanager
def _store_named(uri: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UnavailableError(
            f"cannot write {uri}: {error}", reason="ERROR_REASON_DEPENDENCY_UNAVAILABLE"
        ) from error
