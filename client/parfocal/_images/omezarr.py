"""OME-Zarr 0.4 and 0.5 images, read at their finest level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorstore as ts

from parfocal._errors import ImageError
from parfocal._images.colour import chosen_channel
from parfocal._images.ngff import Multiscale, checked_multiscale
from parfocal._images.place import Place, reached
from parfocal._images.source import Array, ImageSource, checked_dtype
from parfocal._images.units import nanometres

# tensorstore ends the process where it finds no memory for one.
_MOST_CHUNK_BYTES = 4 << 30


class OmeZarrSource(ImageSource):
    """The finest level of an OME-Zarr image or label image.

    Axes may be any of t, c, z, y, x. There may be one time only; of several channels one is
    named.
    """

    def __init__(self, group: Place, *, channel: int | None = None) -> None:
        self.name = group.uri.rpartition("/")[2]
        self._uri = group.uri
        version, attributes = _metadata(group)
        self.kind = f"OME-Zarr {version}"
        multiscale = checked_multiscale(attributes, version=version, name=group.uri)
        self.key = multiscale.path
        self.levels = multiscale.levels
        self._array = self._in_order(
            _opened(group.below(multiscale.path), version), multiscale, channel
        )
        z, y, x = self._array.shape
        self.shape = (z, y, x)
        self.dtype = checked_dtype(np.dtype(self._array.dtype.numpy_dtype), group.uri)
        self.voxel_size_nm = _voxel_size(multiscale)

    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        """Return sections (z, y, x)."""
        z, y, _ = self.shape
        part = self._array[slice(*sections.indices(z)), slice(*rows.indices(y)), :]
        try:
            with reached(self._uri):
                return np.asarray(part.read().result())
        except ValueError as error:
            raise _damaged(self._uri, str(error)) from error

    def _in_order(
        self, array: ts.TensorStore, multiscale: Multiscale, channel: int | None
    ) -> ts.TensorStore:
        names = multiscale.axes
        if len(names) != array.ndim:
            raise _damaged(self._uri, f"{len(names)} axes are named, the array has {array.ndim}")
        index: list[Any] = []
        for name, length in zip(names, array.shape, strict=True):
            if name in ("z", "y", "x"):
                index.append(slice(None))
            elif name == "c":
                index.append(chosen_channel(length, channel, self._uri))
            elif length == 1:
                index.append(0)
            else:
                raise ImageError(
                    f"{self._uri}: expected one point along the axis {name}, got {length}",
                    reason="ERROR_REASON_SHAPE_MISMATCH",
                    metadata={"path": self._uri, "shape": str(array.shape)},
                )
        spatial = [name for name in names if name in ("z", "y", "x")]
        picked = array[tuple(index)]
        if "z" not in spatial:
            picked, spatial = picked[ts.newaxis], ["z", *spatial]
        picked = picked[tuple(slice(0, side) for side in picked.shape)]
        return picked.transpose([spatial.index(name) for name in ("z", "y", "x")])


def _metadata(group: Place) -> tuple[str, dict[str, Any]]:
    """Return the version and the OME attributes of a group, v3 or v2."""
    try:
        v3 = group.read_json("zarr.json")
        if v3 is not None:
            return "0.5", dict((v3.get("attributes") or {}).get("ome") or {})
        v2 = group.read_json(".zattrs")
    except ValueError as error:
        raise _damaged(group.uri, str(error)) from error
    if v2 is not None:
        return "0.4", v2
    raise ImageError(
        f"{group.uri}: expected an OME-Zarr image, found neither zarr.json nor .zattrs",
        reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
        metadata={"path": group.uri},
    )


def _opened(place: Place, version: str) -> ts.TensorStore:
    driver = "zarr3" if version == "0.5" else "zarr"
    try:
        with reached(place.uri):
            array = ts.open({"driver": driver, "kvstore": dict(place.spec)}, open=True).result()
    except ValueError as error:
        raise _damaged(place.uri, str(error)) from error
    chunk = array.chunk_layout.read_chunk.shape or array.shape
    size = math.prod(side or 1 for side in chunk) * array.dtype.numpy_dtype.itemsize
    if size > _MOST_CHUNK_BYTES:
        raise ImageError(
            f"{place.uri}: its chunks have {size} bytes each, more than {_MOST_CHUNK_BYTES}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": place.uri},
        )
    return array


def _voxel_size(multiscale: Multiscale) -> tuple[float, float, float] | None:
    sides = {
        name: nanometres(scale, unit)
        for name, scale, unit in zip(
            multiscale.axes, multiscale.scale, multiscale.units, strict=True
        )
    }
    z, y, x = (sides.get(name) for name in ("z", "y", "x"))
    return None if z is None or y is None or x is None else (z, y, x)


def _damaged(uri: str, why: str) -> ImageError:
    return ImageError(
        f"{uri}: expected a whole OME-Zarr image, could not read it: {why}",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"path": uri},
    )
