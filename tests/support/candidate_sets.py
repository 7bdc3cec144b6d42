"""Images, candidate sets and snapshots in an object store, as the services leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_labels.records import Snapshot
from parfocal_labels.snapshots import SCHEMA
from parfocal_runtime import layout
from parfocal_runtime.arrays import create_array, create_group
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, table_bytes

PROJECT = "vnc"
SHA256 = "ab" * 32
VOXEL_NM = (50.0, 4.6, 4.6)

Objects = npt.NDArray[np.uint32]


def write_image(
    store: ObjectStore, name: str, shape: Sequence[int], *, levels: int = 1, unit: str = "nanometer"
) -> str:
    """Write an empty OME-Zarr image, halved in plane from level to level; return its array."""
    group = layout.image_group(PROJECT, name)
    datasets = []
    z, y, x = shape
    for level in range(levels):
        create_array(store, f"{group}/{level}", shape=(z, y, x), dtype=np.uint8, chunks=(z, y, x))
        factor = 2**level
        scale = [VOXEL_NM[0], VOXEL_NM[1] * factor, VOXEL_NM[2] * factor]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
        y, x = -(-y // 2), -(-x // 2)
    axes = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    multiscale = {"name": name, "axes": axes, "datasets": datasets}
    attributes = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    create_group(store, group, attributes=attributes)
    return f"{group}/0"


def write_candidate_set(
    store: ObjectStore,
    objects: Mapping[str, Objects],
    *,
    name: str = "set",
    keep_objects: bool = True,
) -> None:
    """Write a set whose candidates lie where the arrays have candidate + 1.

    Args:
        store: Where it goes.
        objects: By path of the image: (z, y, x), numbers from 1 on, each in one image.
        name: Name of the set.
        keep_objects: Whether the arrays are part of it.
    """
    rows: list[dict[str, int]] = []
    for source, array in enumerate(objects.values()):
        rows += _rows(array, source)
        if keep_objects:
            path = layout.candidate_objects(PROJECT, name, source)
            chunks = [1, *(min(16, side) for side in array.shape[1:])]
            written = create_array(store, path, shape=array.shape, dtype=np.uint32, chunks=chunks)
            written.write(array).result()
    rows.sort(key=lambda row: row["candidate"])
    record = {"sources": [{"image": path} for path in objects]}
    store.write(layout.candidate_record(PROJECT, name), json.dumps(record).encode())
    create_table(store, layout.candidate_table(PROJECT, name), pa.Table.from_pylist(rows))


def snapshot_of(store: ObjectStore, answers: Sequence[Mapping[str, Any]]) -> Snapshot:
    """Write a snapshot; each answer gives the columns in which its row is not the usual one."""
    usual = {
        "round": "r1",
        "candidate_set": "set",
        "role": "strategy",
        "strategy": "two-stream",
        "model": "unet",
        "model_version": 2,
        "verdict": None,
        "class_name": None,
        "votes": 3,
        "agreeing": 2,
    }
    rows = [{**usual, "rank": rank, **answer} for rank, answer in enumerate(answers)]
    path = layout.snapshot_table(PROJECT, SHA256)
    store.write(path, table_bytes(pa.Table.from_pylist(rows, schema=SCHEMA)))
    time = datetime(2026, 1, 2, tzinfo=UTC)
    return Snapshot(PROJECT, SHA256, path, len(rows), len(rows), time)


def _rows(array: Objects, source: int) -> list[dict[str, int]]:
    rows = []
    for value in np.unique(array[array > 0]).tolist():
        places = np.argwhere(array == value)
        low, high = places.min(axis=0), places.max(axis=0) + 1
        corners = dict(zip(("z0", "y0", "x0", "z1", "y1", "x1"), [*low, *high], strict=True))
        numbers = {name: int(number) for name, number in corners.items()}
        rows.append({"candidate": value - 1, "source": source, "voxels": len(places), **numbers})
    return rows
