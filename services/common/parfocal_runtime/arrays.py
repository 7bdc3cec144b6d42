"""Zarr arrays of the object store, through tensorstore.

Axis order is that of the array (zyx for images). New arrays are Zarr v3 with Zstandard; v2 arrays
(OME-Zarr 0.4) open as well.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists, Exhausted, InvalidInput, NotFound, Unavailable
from parfocal_runtime.quota import cpu_threads
from parfocal_runtime.store import ObjectStore

# Statuses of a store that does not answer.
_UNREACHABLE = frozenset(
    {"ABORTED", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE"}
)
_FILE = re.compile(r'^.*Error (?:reading|writing) [^"]*"[^"]*": ')
# A store that refuses connections is given up after 3 to 4 seconds, one that takes them and says
# nothing after 24, one that nothing comes back from after 16.
_RETRIES = {"max_retries": 3, "initial_delay": "400ms", "max_delay": "2s"}
_SILENCE_SECONDS = 5
_CONNECT_SECONDS = 3
# tensorstore ends the process where it finds no memory for one.
_MOST_CHUNK_BYTES = 4 << 30
_ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": 3}}
_ENDIAN: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}


def create_array(
    store: ObjectStore,
    path: str,
    *,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    dimension_names: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    fill_value: float | int | bool = 0,
) -> ts.TensorStore:
    """Create a Zarr v3 array and return it open for reading and writing.

    Args:
        store: Where the array goes.
        path: Folder of the array.
        shape: Length of each axis.
        dtype: Any numpy type that Zarr v3 knows.
        chunks: Chunk shape: the smallest piece that is read.
        shards: Shard shape, a multiple of the chunk shape: the smallest piece that is written,
            one object each. None stores every chunk as an object of its own.
        dimension_names: Names of the axes, such as `("z", "y", "x")`.
        attributes: What goes under `attributes` of the metadata.
        fill_value: Value of what was never written.

    Raises:
        AlreadyExists: If an array is there (`ERROR_REASON_ARTIFACT_EXISTS`).
        InvalidInput: If shapes and type do not make an array (`ERROR_REASON_INVALID_ARTIFACT`).
    """
    data_type = np.dtype(dtype)
    metadata: dict[str, Any] = {
        "shape": [int(side) for side in shape],
        "data_type": data_type.name,
        "chunk_grid": _grid(shards or chunks),
        "codecs": _codecs(chunks, shards),
        "fill_value": _json_number(fill_value, data_type),
        "attributes": dict(attributes or {}),
    }
    if dimension_names is not None:
        metadata["dimension_names"] = list(dimension_names)
    spec = {"driver": "zarr3", "kvstore": store.kvstore(path), "metadata": metadata}
    with _translated(path):
        return ts.open(spec, create=True, delete_existing=False, context=_context()).result()


def open_array(store: ObjectStore, path: str) -> ts.TensorStore:
    """Open a Zarr array, v3 or v2, for reading and writing.

    Raises:
        NotFound: If there is none (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidInput: If its metadata is damaged, or its chunks are larger than anybody can read
            (`ERROR_REASON_INVALID_ARTIFACT`).
    """
    spec = {"driver": _driver(store, path), "kvstore": store.kvstore(path)}
    with _translated(path):
        array = ts.open(spec, open=True, context=_context()).result()
    chunk = array.chunk_layout.read_chunk.shape or array.shape
    size = math.prod(side or 1 for side in chunk) * array.dtype.numpy_dtype.itemsize
    if size > _MOST_CHUNK_BYTES:
        raise InvalidInput(
            "ERROR_REASON_INVALID_ARTIFACT",
            f"chunks of {path!r} have {size} bytes each, more than {_MOST_CHUNK_BYTES}",
            path=path,
        )
    return array


def read_box(array: ts.TensorStore, box: Box) -> npt.NDArray[Any]:
    """Return the voxels of `box` (zyx); leading axes of the array come whole.

    Raises:
        InvalidInput: If the box reaches outside (`ERROR_REASON_BOX_OUTSIDE_IMAGE`), or the array
            is damaged (`ERROR_REASON_INVALID_ARTIFACT`).
        Unavailable: If the store does not answer (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
    """
    with _translated(_name(array)):
        return np.asarray(_at(array, box).read().result())


def finish_read(array: ts.TensorStore, reading: ts.Future[Any]) -> npt.NDArray[Any]:
    """Return what a read that was begun on `array`, or on a part of it, gives.

    Raises:
        InvalidInput: If the array is damaged (`ERROR_REASON_INVALID_ARTIFACT`).
        Unavailable: If the store does not answer (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
    """
    with _translated(_name(array)):
        return np.asarray(reading.result())


def read_points(array: ts.TensorStore, points: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the values (N,) at `points` (N, axes), reading no chunk but those they lie in.

    Raises:
        InvalidInput: If a point lies outside (`ERROR_REASON_BOX_OUTSIDE_IMAGE`), or the array is
            damaged (`ERROR_REASON_INVALID_ARTIFACT`).
        Unavailable: If the store does not answer (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
    """
    outside = np.any((points < 0) | (points >= np.array(array.shape)), axis=1)
    if np.any(outside):
        point = tuple(points[outside][0].tolist())
        raise InvalidInput(
            "ERROR_REASON_BOX_OUTSIDE_IMAGE",
            f"{point} lies outside the array of shape {array.shape}",
            field="points",
            start=point,
            stop=point,
            shape=array.shape,
        )
    with _translated(_name(array)):
        return np.asarray(array.vindex[tuple(points.T)].read().result())


def write_box(array: ts.TensorStore, box: Box, data: npt.ArrayLike) -> None:
    """Write the voxels of `box` (zyx); returns when they are stored.

    Writers at the same time must not share a chunk (a shard, where there are shards): each
    rewrites whole ones. A box that cuts chunks which exist already is read, merged and written
    back by compare-and-swap, at which a store that has none, such as Ceph's, fails.

    Raises:
        InvalidInput: If the box reaches outside (`ERROR_REASON_BOX_OUTSIDE_IMAGE`).
    """
    with _translated(_name(array)):
        region = _at(array, box)
        write_region(array, region.origin, np.broadcast_to(data, region.shape))


def write_region(array: ts.TensorStore, start: Sequence[int], data: npt.NDArray[Any]) -> None:
    """Write `data` from index `start` on, in an array of any axes; returns when it is stored.

    What holds for `write_box` about chunks holds here.
    """
    chunks = array.chunk_layout.write_chunk.shape or array.shape
    stop = [low + side for low, side in zip(start, data.shape, strict=True)]
    beyond = [-high % int(side or 1) for high, side in zip(stop, chunks, strict=True)]
    with _translated(_name(array)):
        if any(beyond) and all(
            low % int(side or 1) == 0 and (not over or high == size)
            for low, high, side, over, size in zip(
                start, stop, chunks, beyond, array.shape, strict=True
            )
        ):
            # tensorstore takes a chunk that sticks out of the array for one that is written in
            # part. Told that the array ends with its chunks, it writes without a condition.
            array = _with_whole_chunks(array, [int(side or 1) for side in chunks])
            data = np.pad(data, [(0, over) for over in beyond])
            stop = [high + over for high, over in zip(stop, beyond, strict=True)]
        region = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
        array[region].write(data).result()


def array_attributes(store: ObjectStore, path: str) -> dict[str, Any]:
    """Return the user attributes of a Zarr array or group, v3 or v2.

    Raises:
        NotFound: If there is neither (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidInput: If the metadata is damaged (`ERROR_REASON_INVALID_ARTIFACT`).
    """
    v3 = _read_json(store, f"{path}/zarr.json")
    if v3 is not None:
        return dict(v3.get("attributes") or {})
    v2 = _read_json(store, f"{path}/.zattrs")
    if v2 is not None:
        return v2
    if any(store.exists(f"{path}/{name}") for name in (".zarray", ".zgroup")):
        return {}
    raise _missing(path)


def create_group(store: ObjectStore, path: str, *, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a Zarr v3 group, over older metadata if there is any."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    store.write(f"{path}/zarr.json", json.dumps(document, indent=2).encode())


@cache
def _context() -> ts.Context:
    # Without these each try may take a minute. It reads them when it first speaks to S3.
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(_SILENCE_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS", str(_CONNECT_SECONDS))
    return ts.Context(
        {
            # Without this it counts the machine's cores; a container may have fewer.
            "data_copy_concurrency": {"limit": cpu_threads()},
            # Without this it tries for half an hour.
            "s3_request_retries": _RETRIES,
        }
    )


def _json_number(value: float, data_type: np.dtype[Any]) -> float | int | bool | str:
    number = np.asarray(value).astype(data_type).item()
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return cast("float | int | bool", number)


def _grid(shape: Sequence[int]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [int(side) for side in shape]}}


def _codecs(chunks: Sequence[int], shards: Sequence[int] | None) -> list[dict[str, Any]]:
    inner = [_ENDIAN, _ZSTD]
    if shards is None:
        return inner
    sharding = {
        "chunk_shape": [int(side) for side in chunks],
        "codecs": inner,
        "index_codecs": [_ENDIAN, {"name": "crc32c"}],
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": sharding}]


def _driver(store: ObjectStore, path: str) -> str:
    if store.exists(f"{path}/zarr.json"):
        return "zarr3"
    if store.exists(f"{path}/.zarray"):
        return "zarr"
    raise _missing(path)


def _at(array: ts.TensorStore, box: Box) -> ts.TensorStore:
    shape = array.shape[-3:]
    if len(shape) < 3 or not Box.whole(shape).contains(box):
        raise InvalidInput(
            "ERROR_REASON_BOX_OUTSIDE_IMAGE",
            f"box {box.start}..{box.stop} reaches outside the array of shape {array.shape}",
            field="box",
            start=box.start,
            stop=box.stop,
            shape=array.shape,
        )
    return array[(..., *box.slices)]


def _with_whole_chunks(array: ts.TensorStore, chunks: Sequence[int]) -> ts.TensorStore:
    spec = array.spec(retain_context=True).to_json()
    spec.pop("transform")
    spec["metadata"]["shape"] = [
        size + -size % side for size, side in zip(array.shape, chunks, strict=True)
    ]
    spec["assume_metadata"] = True
    return ts.open(spec).result()


def _read_json(store: ObjectStore, path: str) -> dict[str, Any] | None:
    try:
        document = json.loads(store.read(path))
    except NotFound:
        return None
    except ValueError as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_ARTIFACT", f"{path!r} is not JSON", path=path
        ) from error
    return document if isinstance(document, dict) else {}


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Name what tensorstore reports, all of it as ValueError, as the domain does."""
    try:
        yield
    except ValueError as error:
        code, _, rest = str(error).partition(":")
        if code == "ALREADY_EXISTS":
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS", f"there is an array at {path!r} already", name=path
            ) from error
        if code == "NOT_FOUND":
            raise _missing(path) from error
        if code == "RESOURCE_EXHAUSTED" or "No space left" in rest:
            raise Exhausted(
                "ERROR_REASON_STORE_FULL", "the object store has no space left"
            ) from error
        if code in _UNREACHABLE:
            raise Unavailable(
                "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
                f"the object store did not serve the array {path!r}",
                service="object store",
            ) from error
        # With a code the text tells where the store is; without one, what is wrong with a shape,
        # behind the name of the file that could not be written.
        fault = "it is damaged" if code.isupper() else _FILE.sub("", str(error).partition(" [")[0])
        raise InvalidInput(
            "ERROR_REASON_INVALID_ARTIFACT", f"{path!r} is not an array: {fault}", path=path
        ) from error


def _name(array: ts.TensorStore) -> str:
    # What lies before would tell callers where the store is.
    store = array.kvstore
    path = "" if store is None else str(store.path).rstrip("/")
    inside = path.rfind("projects/")
    return path[inside:] if inside >= 0 else path.rpartition("/")[2]


def _missing(path: str) -> NotFound:
    return NotFound("ERROR_REASON_ARTIFACT_NOT_FOUND", f"there is no array {path!r}", path=path)
