"""Candidate sets in the object store: where each candidate lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import tensorstore as ts

from parfocal._errors import InvalidRequestError, NotFoundError, UnavailableError
from parfocal._images.place import Place, place, reached
from parfocal._names import last_part

Array = npt.NDArray[Any]

_CACHE_BYTES = 128 << 20
_CORNERS = ("z0", "y0", "x0", "z1", "y1", "x1")


@dataclass(frozen=True)
class Source:
    """An image that candidates were found in.

    Attributes:
        number: Which of the set's images it is, from 0.
        path: Path of its array.
        name: What it is called.
        objects: Array (z, y, x) with candidate + 1 where each lies; None where the set keeps none.
        shape: Voxels (z, y, x); the least that holds all candidates where there are no objects.
    """

    number: int
    path: str
    name: str
    objects: ts.TensorStore | None
    shape: tuple[int, int, int]

    def read(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Array:
        """Return candidate + 1 of the voxels of a box."""
        assert self.objects is not None, "callers look first"
        index = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
        try:
            return np.asarray(self.objects[index].read().result())
        except ValueError as error:
            raise UnavailableError(
                f"cannot read the objects in {self.name}: {error}",
                reason="ERROR_REASON_DEPENDENCY_UNAVAILABLE",
            ) from error


@dataclass(frozen=True)
class CandidateSet:
    """A candidate set.

    Attributes:
        project: Name of the project.
        name: Name of the set.
        boxes: (N, 6) int64 z0, y0, x0, z1, y1, x1.
        source: (N,) int64 the image of each.
        voxels: (N,) int64.
        sources: The images.
        model: The model version that proposed the candidates, `name/version`; empty where it is
            not known.
    """

    project: str
    name: str
    boxes: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    voxels: npt.NDArray[np.int64]
    sources: tuple[Source, ...]
    model: str = ""

    def source_of(self, image: str) -> Source | None:
        """Return the image of this name or path, or None."""
        return next((each for each in self.sources if image in (each.name, each.path)), None)

    @property
    def patches(self) -> str:
        """Path of the Zarr group with the patches."""
        return f"projects/{self.project}/candidates/{self.name}/patches.zarr"


def open_candidate_set(store: str | os.PathLike[str], *, project: str, name: str) -> CandidateSet:
    """Return a candidate set of the object store at `store`.

    Raises:
        NotFoundError: If it is not there, or not complete (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidRequestError: If it does not say where its candidates lie.
    """
    path = f"projects/{last_part(project)}/candidates/{name}"
    folder = place(store).below(path)
    data, record = folder.read("table.parquet"), folder.read_json("set.json")
    if data is None or record is None:
        raise NotFoundError(
            f"there is no complete candidate set {path}",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": path},
        )
    try:
        table = pq.read_table(pa.BufferReader(data))
        boxes = np.stack([_column(table, corner) for corner in _CORNERS], axis=1)
        source = _column(table, "source") if "source" in table.column_names else 0 * boxes[:, 0]
        images = [str(each["image"]) for each in record["sources"]]
        voxels = _column(table, "voxels") if "voxels" in table.column_names else 0 * source
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"{path} does not say where its candidates lie: {error}",
            reason="ERROR_REASON_INVALID_ARTIFACT",
            metadata={"path": path},
        ) from error
    sources = tuple(
        _source(folder, number, image, boxes[source == number])
        for number, image in enumerate(images)
    )
    return CandidateSet(
        last_part(project), name, boxes, source, voxels, sources, _model(table.schema.metadata)
    )


def _source(folder: Place, number: int, path: str, boxes: npt.NDArray[np.int64]) -> Source:
    objects = folder.below(f"objects-{number}.zarr")
    array = None
    if objects.read_json("zarr.json") is not None:
        array = _opened(objects)
    z, y, x = array.shape if array is not None else boxes[:, 3:].max(axis=0, initial=1).tolist()
    return Source(number, path, _name(path), array, (z, y, x))


def _opened(objects: Place) -> ts.TensorStore:
    # Neighbours lie in the same chunks, which never change once the set is complete.
    context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
    spec = {
        "driver": "zarr3",
        "kvstore": dict(objects.spec),
        "recheck_cached_data": False,
    }
    with reached(objects.uri):
        return ts.open(spec, open=True, context=context).result()


def _name(path: str) -> str:
    parts = path.split("/")
    named = next((part for part in reversed(parts) if part.endswith(".zarr")), parts[-1])
    return named.removesuffix(".zarr").removesuffix(".ome")


def _column(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(table[name].to_numpy(), np.int64)


def _model(metadata: dict[bytes, bytes] | None) -> str:
    said = metadata or {}
    name, version = (said.get(key, b"").decode() for key in (b"model", b"model_version"))
    return f"{name}/{version}" if name and version else ""
