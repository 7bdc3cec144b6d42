"""What constraints need to know of candidates: their groups, places, times and regions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parfocal_runtime.arrays import open_array, read_points
from parfocal_runtime.errors import InvalidInput, NotFound
from parfocal_runtime.source_images import SourceImage, source_image
from parfocal_runtime.store import ObjectStore
from parfocal_suggestion.constraints import IMAGE, Constraints, RegionMask
from parfocal_suggestion.pool import Column, Ids, Mask, named

_CENTRE = ("cz", "cy", "cx")
_NANOMETRES = 1e9
_LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Surroundings:
    """Columns of the candidates of a set, in the order of its table; see `Pool`."""

    groups: Mapping[str, Column] = field(default_factory=dict)
    positions: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None
    inside: Mapping[str, Mask] = field(default_factory=dict)


def read_surroundings(
    store: ObjectStore, folder: str, table: pa.Table, constraints: Constraints
) -> Surroundings:
    """Read what the constraints need, and nothing else.

    Args:
        store: Where everything is.
        folder: Folder of the candidate set.
        table: Its table.
        constraints: The constraints.

    Raises:
        InvalidInput: If a column is not there or not of its kind, a mask does not fit its image,
            or the size of a voxel is not known.
        NotFound: If a mask is not there.
    """
    groups = {name: _words_or_numbers(table, name) for name in constraints.columns}
    if not (constraints.minimum_distance_nm or constraints.regions):
        return Surroundings(groups, seconds=_seconds(table, constraints))
    sources = _numbers(table, IMAGE).astype(np.int64)
    centres = np.stack([_numbers(table, name) for name in _CENTRE], axis=1)
    images = _Images(store, folder)
    return Surroundings(
        groups=groups,
        positions=_positions(images, sources, centres, constraints)
        if constraints.minimum_distance_nm
        else None,
        seconds=_seconds(table, constraints),
        inside={
            each.name: _inside(store, images, each, sources, centres)
            for each in constraints.regions
        },
    )


class _Images:
    """The images of a candidate set by number, read when they are asked for."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, folder
        self._paths: list[str] | None = None

    def __getitem__(self, number: int) -> SourceImage:
        if self._paths is None:
            self._paths = self._read()
        if not 0 <= number < len(self._paths):
            raise _invalid(
                "constraints.regions.source",
                number,
                f"is no image of {self._folder!r}, which has {len(self._paths)}",
            )
        return source_image(self._store, self._paths[number])

    def _read(self) -> list[str]:
        try:
            record: dict[str, Any] = json.loads(self._store.read(f"{self._folder}/set.json"))
            paths = [str(source["image"]) for source in record["sources"]]
        except (NotFound, ValueError, KeyError, TypeError) as error:
            raise _invalid(
                "candidates", self._folder, "does not say in set.json which images it is of"
            ) from error
        return [self._store.resolve(path) for path in paths]


def _positions(
    images: _Images, sources: Ids, centres: NDArray[np.float64], constraints: Constraints
) -> NDArray[np.float64]:
    if constraints.voxel_size_nm:
        return np.asarray(centres * np.array(constraints.voxel_size_nm))
    positions = np.empty_like(centres)
    for number in np.unique(sources).tolist():
        size = images[number].voxel_size_m()
        if size is None:
            raise _invalid(
                "constraints.voxel_size",
                "",
                f"must be given, since image {number} does not say how large its voxels are",
            )
        own = sources == number
        positions[own] = centres[own] * (np.array(size) * _NANOMETRES)
    return positions


def _inside(
    store: ObjectStore,
    images: _Images,
    region: RegionMask,
    sources: Ids,
    centres: NDArray[np.float64],
) -> Mask:
    array = open_array(store, region.mask)
    shape = images[region.source].shape
    kind = array.dtype.numpy_dtype.kind
    if kind not in "biu" or tuple(array.shape) != shape:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"the mask {region.mask!r} is {array.dtype.name} of shape {tuple(array.shape)}, not "
            f"whole numbers of the shape {shape} of image {region.source}",
            field="constraints.regions.mask",
            shape=tuple(array.shape),
            expected=shape,
        )
    inside = np.ones(len(sources), np.bool_)
    own = sources == region.source
    if np.any(own):
        # Half up, as sections stand for objects.
        voxels = np.floor(centres[own] + 0.5).astype(np.int64)
        inside[own] = read_points(array, voxels) != 0
    return inside


def _seconds(table: pa.Table, constraints: Constraints) -> NDArray[np.float64] | None:
    return _numbers(table, constraints.seconds_column) if constraints.seconds_column else None


def _words_or_numbers(table: pa.Table, name: str) -> Column:
    column = _column(table, name)
    if column.type == pa.uint64() and len(column) and pc.max(column).as_py() > _LARGEST:
        column = column.cast(pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.asarray(column.to_pylist(), np.str_)
    raise _invalid("constraints.groups.columns", name, f"is {column.type}, not numbers or words")


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = _column(table, name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise _invalid("constraints", name, f"is {column.type}, not numbers")
    return np.asarray(column.to_numpy(), np.float64)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        have = ", ".join(table.column_names)
        raise _invalid(
            "constraints", name, f"is no column of the candidate table, which has {have}"
        )
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        empty = np.flatnonzero(column.is_null().to_numpy())
        raise _invalid("constraints", name, f"is empty for the candidates {named(empty)}")
    return column


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {value!r} {fault}", field=field, value=value
    )
