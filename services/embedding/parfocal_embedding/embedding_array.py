"""The array of embeddings of a candidate set, written range by range by many.

The array says in its attributes what is in it. Beside it lies a small file for each range that is
finished, so that a range is done once and a killed one is done again. These files belong to this
very array: where it is deleted, they count no more.
"""

from __future__ import annotations

import json
import re
import uuid

import numpy as np
import tensorstore as ts

from parfocal_embedding.encoder import LARGEST_BATCH, Vectors
from parfocal_runtime.arrays import array_attributes, create_array, open_array, write_region
from parfocal_runtime.errors import AlreadyExists
from parfocal_runtime.store import ObjectStore

_ID = "id"
_KEY = re.compile(r"[0-9a-f]*")

CHUNK_ROWS = LARGEST_BATCH
"""Rows of a chunk; ranges begin and end on this grid, so that no two writers share a chunk."""


class EmbeddingArray:
    """An array (N, d) float32 in the object store.

    Args:
        store: Where it is.
        path: Path of the array.
        contents: What it holds: encoder, candidate set, stream.
    """

    def __init__(self, store: ObjectStore, path: str, *, contents: dict[str, str]) -> None:
        self._store = store
        self._path = path
        self._contents = contents
        self._ranges = ""

    def open(self, *, rows: int, dimensions: int) -> ts.TensorStore:
        """Return the array, made if it does not exist.

        Raises:
            AlreadyExists: If it holds something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        key = uuid.uuid4().hex
        try:
            array = create_array(
                self._store,
                self._path,
                shape=(rows, dimensions),
                dtype=np.float32,
                chunks=(CHUNK_ROWS, dimensions),
                dimension_names=("candidate", "feature"),
                attributes={**self._contents, _ID: key},
                fill_value=float("nan"),
            )
        except AlreadyExists:
            array = open_array(self._store, self._path)
            key = self._key(array, (rows, dimensions))
        self._ranges = f"{self._path}.ranges/{key}".removesuffix("/")
        return array

    def has(self, start: int, stop: int) -> bool:
        """Return whether the range of the array, which is open, is finished."""
        return self._store.exists(self._mark(start, stop))

    def write(self, array: ts.TensorStore, first: int, vectors: Vectors) -> None:
        """Store vectors from row `first` on, which begins a chunk."""
        write_region(array, (first, 0), vectors)

    def finish(self, start: int, stop: int) -> None:
        """Mark a range whose vectors are all stored as finished."""
        self._store.create(self._mark(start, stop), json.dumps(self._contents).encode())

    def _mark(self, start: int, stop: int) -> str:
        return f"{self._ranges}/{start}-{stop}.json"

    def _key(self, array: ts.TensorStore, shape: tuple[int, int]) -> str:
        """Return what tells this array from others of its name, if it holds what it should."""
        found = array_attributes(self._store, self._path)
        # Arrays of earlier releases have no id.
        key = found.get(_ID, "")
        same = {name: found.get(name) for name in self._contents} == self._contents
        is_named = isinstance(key, str) and _KEY.fullmatch(key)
        if not (same and is_named and tuple(array.shape) == shape and _is_fit(array)):
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS",
                f"the array {self._path!r} holds other embeddings: {found}, {array.shape}, "
                f"{array.dtype.name}",
                name=self._path,
            )
        return str(key)


def _is_fit(array: ts.TensorStore) -> bool:
    """Return whether ranges of vectors can be written side by side."""
    rows = (array.chunk_layout.write_chunk.shape or (0,))[0]
    return bool(array.dtype.numpy_dtype == np.float32 and rows and CHUNK_ROWS % rows == 0)
