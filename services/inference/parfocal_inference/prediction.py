"""Probability maps in the object store, filled block by block."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal_inference.image_arrays import AXES, ORIGIN, origin_of
from parfocal_runtime.arrays import (
    array_attributes,
    create_array,
    create_group,
    open_array,
    write_box,
)
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import AlreadyExists, DomainError
from parfocal_runtime.store import ObjectStore

CHUNKS: Triple = (16, 128, 128)
"""Largest chunks of a map: the smallest piece that is written."""

_ID = "id"
_KEY = re.compile(r"[0-9a-f]*")


class Prediction:
    """One probability map and the record of its finished blocks.

    The map knows what it is made from; blocks made from something else cannot get into it. The
    record lies beside the map, outside of its Zarr group, one small object for each finished
    block, and belongs to this very array: where the map is deleted, the record counts no more.

    Only whole chunks are written. Two writers that share a chunk then both write all of it, with
    the same values, and neither loses what the other wrote; and no store has to compare and swap.
    """

    def __init__(self, store: ObjectStore, path: str, array: ts.TensorStore, *, key: str) -> None:
        self._store = store
        self._array = array
        self._record = f"{_beside(path)}/{key}"

    @classmethod
    def opened(
        cls,
        store: ObjectStore,
        path: str,
        *,
        image: str,
        shape: Triple,
        made_from: Mapping[str, Any],
    ) -> Self:
        """Open the map at `path`, making it if there is none.

        Args:
            store: Where it is.
            path: Of the array.
            image: Path of the image's array, whose scale the map takes over.
            shape: Of the image (z, y, x).
            made_from: Model and parameters; kept in the attributes of the array.

        Raises:
            AlreadyExists: If the map is made from something else
                (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        wanted = {**made_from, "image": image}
        try:
            array = _created(store, path, shape=shape, made_from=wanted)
        except AlreadyExists:
            array = open_array(store, path)
        found = origin_of(store, path)
        key = found.pop(_ID, "")
        is_named = isinstance(key, str) and _KEY.fullmatch(key)
        if not (found == wanted and is_named and tuple(array.shape) == shape and _is_fit(array)):
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS",
                f"the array {path!r} exists and is made from something else",
                name=path,
            )
        _describe(store, path, image=image)
        return cls(store, path, array, key=str(key))

    @staticmethod
    def whole_chunks(box: Box, shape: Triple) -> Box:
        """Return the smallest box of whole chunks of a map of `shape` that holds `box`."""
        z0, y0, x0 = (low - low % side for low, side in zip(box.start, CHUNKS, strict=True))
        z1, y1, x1 = (
            min(high + -high % side, size)
            for high, side, size in zip(box.stop, CHUNKS, shape, strict=True)
        )
        return Box((z0, y0, x0), (z1, y1, x1))

    def has(self, box: Box) -> bool:
        """Return whether the block was written before."""
        return self._store.exists(self._marker(box))

    def write(self, box: Box, probability: npt.NDArray[np.uint8]) -> None:
        """Write a box of whole chunks; returns when they are stored."""
        write_box(self._array, box, probability)

    def finish(self, box: Box) -> None:
        """Put a block on record, all of whose chunks are stored."""
        self._store.create(self._marker(box), b"{}")

    def _marker(self, box: Box) -> str:
        start, stop = ("-".join(map(str, corner)) for corner in (box.start, box.stop))
        return f"{self._record}/{start}_{stop}.json"


def _created(
    store: ObjectStore, path: str, *, shape: Triple, made_from: Mapping[str, Any]
) -> ts.TensorStore:
    return create_array(
        store,
        path,
        shape=shape,
        dtype=np.uint8,
        chunks=[min(side, most) for side, most in zip(shape, CHUNKS, strict=True)],
        dimension_names=AXES,
        attributes={ORIGIN: {**made_from, _ID: uuid.uuid4().hex}},
    )


def _is_fit(array: ts.TensorStore) -> bool:
    """Return whether boxes of whole chunks of a map are whole chunks of this array."""
    sides = array.chunk_layout.write_chunk.shape or (0, 0, 0)
    return array.dtype.numpy_dtype == np.uint8 and all(
        side and (side == min(size, whole) or whole % side == 0)
        for side, size, whole in zip(sides, array.shape, CHUNKS, strict=True)
    )


def _beside(path: str) -> str:
    """Return a folder outside of the Zarr group that the array is in."""
    parts = path.split("/")
    group = next((at for at, part in enumerate(parts) if part.endswith(".zarr")), len(parts) - 1)
    return "/".join([*parts[:group], parts[group] + ".blocks", *parts[group + 1 :]])


def _describe(store: ObjectStore, path: str, *, image: str) -> None:
    """Make the folder that the map is in an OME-Zarr image, as large as the one it is made from."""
    group, _, name = path.rpartition("/")
    if not group.endswith(".ome.zarr") or store.exists(f"{group}/zarr.json"):
        return
    create_group(store, group, attributes={"ome": _multiscales(store, image, name=name)})


def _multiscales(store: ObjectStore, image: str, *, name: str) -> dict[str, Any]:
    axes, transformations = _scale_of(store, image)
    return {
        "version": "0.5",
        "multiscales": [
            {
                "axes": axes,
                "datasets": [{"path": name, "coordinateTransformations": transformations}],
            }
        ],
    }


def _scale_of(store: ObjectStore, image: str) -> tuple[list[Any], list[Any]]:
    """Return axes and transformations of an image, or plain voxels where it says nothing."""
    group, _, level = image.rpartition("/")
    plain: tuple[list[Any], list[Any]] = (
        [{"name": axis, "type": "space"} for axis in AXES],
        [{"type": "scale", "scale": [1.0, 1.0, 1.0]}],
    )
    try:
        attributes = array_attributes(store, group)
        multiscale = (attributes.get("ome") or attributes)["multiscales"][0]
        dataset = next(each for each in multiscale["datasets"] if each["path"] == level)
        scale = multiscale["axes"], dataset["coordinateTransformations"]
        json.dumps(scale, allow_nan=False)
        return scale if len(scale[0]) == len(AXES) else plain
    except (
        DomainError,
        KeyError,
        IndexError,
        StopIteration,
        TypeError,
        AttributeError,
        ValueError,
    ):
        return plain
