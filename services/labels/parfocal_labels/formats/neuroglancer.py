"""Answered queries as Neuroglancer precomputed annotation layers, one for each image.

A layer is a folder with `info` (`neuroglancer_annotations_v1`), boxes in the voxels of the image
(x, y, z), an index by id in shards, and a spatial index from coarse to fine. Annotation k is the
k-th query of the snapshot that lies in the image. The folder above names its layers in
`layers.json`, which is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_labels.formats.shards import ENTRIES_PER_SHARD, shard_bytes, shard_name, sharding
from parfocal_labels.formats.spatial_index import Level, spatial_index
from parfocal_labels.formats.tiles import Boxes
from parfocal_runtime.source_images import SourceImage
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

NAME = "neuroglancer"
INDEX = "layers.json"

_TYPE = "neuroglancer_annotations_v1"
_DIMENSIONS = ("x", "y", "z")
# Wide properties come first, as the format wants the values aligned.
_RECORD = np.dtype(
    [
        ("box", "<f4", (6,)),
        ("candidate", "<u4"),
        ("rank", "<i4"),
        ("answer", "<u2"),
        ("round", "<u2"),
        ("candidate_set", "<u2"),
        ("votes", "<u2"),
        ("agreeing", "<u2"),
        ("padding", "<u2"),
    ]
)
_VERDICTS = {True: "true", False: "false", None: "unsure"}
_DESCRIPTIONS = {
    "candidate": "Number of the candidate in its set",
    "rank": "Place of the query in its round",
    "answer": "What people answered",
    "round": "The round that asked",
    "candidate_set": "The candidate set",
    "votes": "Votes that count",
    "agreeing": "Votes for the answer",
}


@dataclass(frozen=True)
class Layer:
    """Answered queries in one image.

    Attributes:
        name: Name of its folder.
        image: The image.
        table: (N) rows of the snapshot.
        boxes: (N, 6) int64, box of each: z0, y0, x0, z1, y1, x1.
    """

    name: str
    image: SourceImage
    table: pa.Table
    boxes: Boxes


def write_layers(
    store: ObjectStore, folder: str, layers: Sequence[Layer], *, cancel: CancelFlag
) -> None:
    """Write annotation layers; the list of them comes last and completes the folder."""
    for layer in layers:
        _write_layer(store, f"{folder}/{layer.name}", layer, cancel)
    index = {
        "layers": [
            {
                "name": layer.name,
                "path": f"{folder}/{layer.name}",
                "image": layer.image.path,
                "annotations": len(layer.boxes),
            }
            for layer in layers
        ]
    }
    store.create(f"{folder}/{INDEX}", json.dumps(index, indent=2).encode())


def _write_layer(store: ObjectStore, path: str, layer: Layer, cancel: CancelFlag) -> None:
    records, enums = annotation_records(layer.table, layer.boxes)
    for number, start in enumerate(range(0, len(records), ENTRIES_PER_SHARD)):
        cancel.check()
        part = records[start : start + ENTRIES_PER_SHARD]
        name = shard_name(number, entries=len(records))
        store.write(
            f"{path}/by_id/{name}", shard_bytes(part.tobytes(), first=start, count=len(part))
        )
    voxel = layer.image.voxel_size_m()
    extent = np.array(layer.image.shape[::-1], np.float64)
    levels = spatial_index(
        _corners(layer.boxes).astype(np.float64),
        extent,
        voxel=np.array((voxel or (1.0, 1.0, 1.0))[::-1]),
    )
    for number, level in enumerate(levels):
        for cell, members in level.cells.items():
            cancel.check()
            name = "_".join(map(str, cell))
            store.write(f"{path}/spatial{number}/{name}", annotation_list(records, members))
    document = info(layer.image, levels, enums=enums, entries=len(records))
    store.write(f"{path}/info", json.dumps(document, indent=2).encode())


def annotation_records(
    table: pa.Table, boxes: Boxes
) -> tuple[npt.NDArray[np.void], dict[str, list[str]]]:
    """Return (N,) encoded annotations, and the words that their enumerations stand for.

    Args:
        table: N rows of a snapshot.
        boxes: (N, 6) their boxes.
    """
    records = np.zeros(len(boxes), _RECORD)
    records["box"] = _corners(boxes).reshape(-1, 6)
    for name in ("candidate", "rank", "votes", "agreeing"):
        records[name] = table[name].to_numpy()
    answers = [
        class_name or _VERDICTS[verdict]
        for verdict, class_name in zip(
            table["verdict"].to_pylist(), table["class_name"].to_pylist(), strict=True
        )
    ]
    words = {"answer": answers} | {
        name: table[name].to_pylist() for name in ("round", "candidate_set")
    }
    enums = {name: sorted(set(column)) for name, column in words.items()}
    for name, column in words.items():
        places = {word: place for place, word in enumerate(enums[name])}
        records[name] = [places[word] for word in column]
    return records, enums


def annotation_list(records: npt.NDArray[np.void], members: npt.NDArray[np.int64]) -> bytes:
    """Return some annotations as the spatial index keeps them: count, annotations, ids."""
    count = np.array([len(members)], "<u8")
    return count.tobytes() + records[members].tobytes() + members.astype("<u8").tobytes()


def info(
    image: SourceImage, levels: Sequence[Level], *, enums: dict[str, list[str]], entries: int
) -> dict[str, Any]:
    """Return the `info` document of a layer."""
    voxel = image.voxel_size_m()
    scales = [[size, "m"] for size in voxel[::-1]] if voxel else [[1, ""]] * 3
    return {
        "@type": _TYPE,
        "dimensions": dict(zip(_DIMENSIONS, scales, strict=True)),
        "lower_bound": [0, 0, 0],
        "upper_bound": list(image.shape[::-1]),
        "annotation_type": "axis_aligned_bounding_box",
        "properties": [_property(name, enums.get(name)) for name in _DESCRIPTIONS],
        "relationships": [],
        "by_id": {"key": "by_id", "sharding": sharding(entries)},
        "spatial": [
            {
                "key": f"spatial{number}",
                "grid_shape": list(level.grid),
                "chunk_size": list(level.chunk),
                "limit": level.limit,
            }
            for number, level in enumerate(levels)
        ],
    }


def _property(name: str, words: list[str] | None) -> dict[str, Any]:
    kind = _RECORD[name].name
    enum = {"enum_values": list(range(len(words))), "enum_labels": words} if words else {}
    return {"id": name, "type": kind, "description": _DESCRIPTIONS[name], **enum}


def _corners(boxes: Boxes) -> npt.NDArray[np.int64]:
    """Return (N, 2, 3) the first and the last corner of each box, x, y, z."""
    return boxes.reshape(-1, 2, 3)[:, :, ::-1]
