"""Images in the object store, checked to be what the services work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal_inference.reading import Read
from parfocal_runtime.arrays import array_attributes, open_array, read_box
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput, naming
from parfocal_runtime.store import ObjectStore

AXES = ("z", "y", "x")

ORIGIN = "parfocal"
"""Attribute of a probability map with the model and the parameters that it is made from."""


def open_image(store: ObjectStore, path: str, *, field: str) -> tuple[ts.TensorStore, Triple]:
    """Return an array (z, y, x) uint8 and its shape.

    Args:
        store: Where it is.
        path: Of the array.
        field: What the caller called it, for errors.

    Raises:
        NotFound: If there is none (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidInput: If it has other axes or another type (`ERROR_REASON_SHAPE_MISMATCH`,
            `ERROR_REASON_DTYPE_MISMATCH`).
    """
    with naming(field):
        array = open_array(store, path)
    if array.ndim != len(AXES) or 0 in array.shape:
        raise shape_mismatch(field, array.shape, "(z, y, x), none of them 0")
    if array.dtype.numpy_dtype != np.uint8:
        raise InvalidInput(
            "ERROR_REASON_DTYPE_MISMATCH",
            f"{field} must be an array of uint8, {path!r} is of {array.dtype.name}",
            field=field,
            dtype=array.dtype.name,
            expected="uint8",
        )
    z, y, x = array.shape
    return array, (z, y, x)


def reader(array: ts.TensorStore, *, field: str) -> Read:
    """Return what reads boxes of an image, and says of what goes wrong which field it was."""

    def read(box: Box) -> npt.NDArray[Any]:
        with naming(field):
            return read_box(array, box)

    return read


def chunk_depth(array: ts.TensorStore) -> int:
    """Return the sections (z) of the smallest piece of an image that can be read."""
    depth: int = (array.chunk_layout.read_chunk.shape or array.shape)[0] or 1
    return depth


def origin_of(store: ObjectStore, path: str) -> dict[str, Any]:
    """Return what a probability map says that it is made from; empty if it does not say."""
    origin = array_attributes(store, path).get(ORIGIN)
    return dict(origin) if isinstance(origin, dict) else {}


def shape_mismatch(field: str, shape: tuple[int, ...], expected: Any) -> InvalidInput:
    """Return the error for an array of another shape than is wanted."""
    return InvalidInput(
        "ERROR_REASON_SHAPE_MISMATCH",
        f"{field} must have the shape {expected}, it has {tuple(shape)}",
        field=field,
        shape=tuple(shape),
        expected=expected,
    )
