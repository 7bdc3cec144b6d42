"""A candidate set in the object store: claimed first, complete last.

`set.json` says what the set is made from and is written once; `table.parquet` is written last and
once. A set without a table is one that a run has not finished: the next run makes all of it again
under the same claim.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorstore as ts

from parfocal_inference.image_arrays import AXES
from parfocal_inference.patches import Patch
from parfocal_runtime.arrays import create_array, create_group, open_array, write_region
from parfocal_runtime.box import Triple
from parfocal_runtime.errors import AlreadyExists, NotFound
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table

_CHUNK_BYTES = 1 << 20
_CHUNK_SIDE = 128


class CandidateSet:
    """The folder of one candidate set.

    Args:
        store: Where it is.
        folder: Path of the folder.
        made_from: Sources and parameters, all that the content depends on.
    """

    def __init__(self, store: ObjectStore, folder: str, *, made_from: dict[str, Any]) -> None:
        self._store = store
        self._folder = folder
        self._claim = json.dumps(made_from, indent=2, sort_keys=True).encode()

    def count(self) -> int | None:
        """Return the number of candidates, or None if the set is not complete.

        Raises:
            AlreadyExists: If the set is made from something else
                (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        if not self._store.exists(self._path("table.parquet")):
            return None
        self._require_own_claim()
        return int(read_table(self._store, self._path("table.parquet")).num_rows)

    def claim(self) -> None:
        """Say what the set is made from, before anything else is written.

        Raises:
            AlreadyExists: If it is made from something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        if not self._store.create(self._path("set.json"), self._claim):
            self._require_own_claim()

    def create_labels(self, source: int, *, shape: Triple, block: Triple) -> ts.TensorStore:
        """Return the empty array (z, y, x) uint32 for the objects of one image.

        Sections are chunks of their own, since patches are cut from one; what one block writes
        is one object of the store.
        """
        z, y, x = (min(side, size) for side, size in zip(block, shape, strict=True))
        return self._empty_or_left(
            f"objects-{source}.zarr",
            shape=shape,
            dtype=np.uint32,
            chunks=(1, _chunk_side(y), _chunk_side(x)),
            shards=(z, y, x),
            dimension_names=AXES,
        )

    def create_patches(self, *, count: int, side: int) -> PatchWriter:
        """Return what writes the patches of all candidates, from the first to the last."""
        create_group(self._store, self._path("patches.zarr"), attributes={})
        rows = max(1, _CHUNK_BYTES // side**2)
        image, mask = (
            self._empty_or_left(
                f"patches.zarr/{name}",
                shape=(count, side, side),
                dtype=dtype,
                chunks=(rows, side, side),
                dimension_names=("candidate", *AXES[1:]),
            )
            for name, dtype in (("image", np.uint8), ("mask", np.int8))
        )
        return PatchWriter(image, mask, rows=rows)

    def complete(self, table: pa.Table) -> None:
        """Write the table; from now on the set is complete."""
        create_table(self._store, self._path("table.parquet"), table)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _require_own_claim(self) -> None:
        try:
            claim = self._store.read(self._path("set.json"))
        except NotFound:
            claim = b""
        if claim != self._claim:
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS",
                f"the candidate set {self._folder!r} is made from something else",
                name=self._folder,
            )

    def _empty_or_left(
        self,
        name: str,
        *,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        chunks: Sequence[int],
        shards: Sequence[int] | None = None,
        dimension_names: Sequence[str],
    ) -> ts.TensorStore:
        path = self._path(name)
        create = partial(
            create_array,
            self._store,
            path,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            shards=shards,
            dimension_names=dimension_names,
        )
        try:
            return create()
        except AlreadyExists:
            # Of a killed run, or of one that is still under way: then both write the same.
            array = open_array(self._store, path)
        layout = array.chunk_layout
        found = (array.shape, array.dtype.numpy_dtype, layout.read_chunk.shape)
        if (*found, layout.write_chunk.shape) == (
            tuple(shape),
            np.dtype(dtype),
            tuple(chunks),
            tuple(shards or chunks),
        ):
            return array
        self._store.delete_prefix(path)
        return create()


class PatchWriter:
    """Writes patches in the order they come, a whole chunk at a time."""

    def __init__(self, image: ts.TensorStore, mask: ts.TensorStore, *, rows: int) -> None:
        self._arrays = (image, mask)
        self._rows = rows
        self._waiting: list[Patch] = []
        self._written = 0

    def add(self, patch: Patch) -> None:
        """Take in the next patch."""
        self._waiting.append(patch)
        if len(self._waiting) == self._rows:
            self.flush()

    def flush(self) -> None:
        """Write what waits; returns when it is stored."""
        if not self._waiting:
            return
        stacks = (
            np.stack([patch.image for patch in self._waiting]),
            np.stack([patch.mask for patch in self._waiting]),
        )
        for array, stack in zip(self._arrays, stacks, strict=True):
            write_region(array, (self._written, 0, 0), stack)
        self._written += len(self._waiting)
        self._waiting.clear()


def _chunk_side(side: int) -> int:
    """Return the largest divisor of `side` up to 128, or `side` where that would be too small."""
    largest = max(part for part in range(1, min(side, _CHUNK_SIDE) + 1) if side % part == 0)
    return largest if 2 * largest >= min(side, _CHUNK_SIDE) else side
