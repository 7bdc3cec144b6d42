"""Detections of a box, from the object store into a table there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.detection import Detection, PatchGrid, detect, memory_bytes
from parfocal_inference.image_arrays import ORIGIN, chunk_depth, open_image, reader
from parfocal_inference.memory import require_room
from parfocal_inference.patch_classifier import PatchClassifier
from parfocal_runtime.box import Box, require_inside
from parfocal_runtime.errors import AlreadyExists, InvalidInput, naming
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table

_SCHEMA = pa.schema(
    [
        ("detection", pa.int64()),
        ("class", pa.int32()),
        ("confidence", pa.float32()),
        ("cy", pa.float64()),
        ("cx", pa.float64()),
        *((name, pa.int64()) for name in ("z0", "y0", "x0", "z1", "y1", "x1")),
    ]
)
_STRIDES_OF_A_PATCH = 10


@dataclass(frozen=True)
class DetectionTask:
    """What to look for.

    Attributes:
        image: Path of the image's array.
        table: Path of the table to write.
        box: Where to look.
        model: Name of a patch classifier.
        version: Of the model; None is the newest.
        stride: Pixels between neighbouring patches; 0 is a tenth of a patch's width.
        threshold: Least confidence of a detection.
        left_out: Classes that are nothing to find.
    """

    image: str
    table: str
    box: Box
    model: str
    version: int | None = None
    stride: int = 0
    threshold: float = 0.5
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class Detected:
    """What became of it.

    Attributes:
        count: Number of detections.
        already_done: Whether the table was there before.
    """

    count: int
    already_done: bool


def detect_into_store(
    store: ObjectStore,
    models: LoadedModels,
    task: DetectionTask,
    *,
    batch: int = 64,
    most_bytes: int | None = None,
    cancel: Cancellation = UNCANCELLED,
) -> Detected:
    """Find objects in a box and write them, unless that was done before.

    Args:
        store: Where the image is, and the table goes.
        models: Where the model is.
        task: What to look for.
        batch: Patches in one run of the model.
        most_bytes: Memory that it may take besides what the model takes; None is any.
        cancel: Asked between runs of the model.

    Raises:
        NotFound: If there is no such image or model (`ERROR_REASON_ARTIFACT_NOT_FOUND`,
            `ERROR_REASON_MODEL_NOT_FOUND`).
        InvalidInput: If the image is not what it should be, the box leaves it or the model is no
            patch classifier (`ERROR_REASON_SHAPE_MISMATCH`, `ERROR_REASON_DTYPE_MISMATCH`,
            `ERROR_REASON_BOX_OUTSIDE_IMAGE`, `ERROR_REASON_INVALID_FIELD`).
        AlreadyExists: If the table is made from something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        WrongState: If the model is not fit to serve (`ERROR_REASON_MODEL_NOT_READY`).
    """
    image, shape = open_image(store, task.image, field="image")
    require_inside(task.box, shape)
    with naming("model"):
        loaded = models.get(task.model, task.version)
        classify = PatchClassifier(loaded)
    for label in task.left_out:
        if not 0 <= label < classify.classes:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"left_out: the model has the classes 0 to {classify.classes - 1}, not {label}",
                field="left_out",
                value=label,
            )
    stride = task.stride or max(1, round(classify.patch[1] / _STRIDES_OF_A_PATCH))
    grid = PatchGrid(shape, classify.patch, stride)
    made_from = {
        "image": task.image,
        "box": [list(task.box.start), list(task.box.stop)],
        "model": loaded.name,
        "version": loaded.version,
        "stride": stride,
        "threshold": task.threshold,
        "left_out": sorted(set(task.left_out)),
    }
    with naming("detections"):
        before = _count(store, task.table, made_from)
    if before is not None:
        return Detected(before, already_done=True)
    chunk = chunk_depth(image)
    require_room(
        memory_bytes(grid, task.box, classes=classify.classes, batch=batch, chunk=chunk), most_bytes
    )
    found = detect(
        reader(image, field="image"),
        classify,
        grid=grid,
        box=task.box,
        threshold=task.threshold,
        left_out=task.left_out,
        batch=batch,
        chunk=chunk,
        cancel=cancel,
    )
    table = _table(found, made_from)
    if not create_table(store, task.table, table):
        # Somebody else was faster; the same request makes the same table.
        return Detected(_count(store, task.table, made_from) or 0, already_done=True)
    return Detected(table.num_rows, already_done=False)


def _table(detections: Iterable[Detection], made_from: dict[str, Any]) -> pa.Table:
    rows = [
        (number, each.label, each.confidence, *each.centre, *each.box.start, *each.box.stop)
        for number, each in enumerate(detections)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA).replace_schema_metadata({ORIGIN: _json(made_from)})


def _count(store: ObjectStore, path: str, made_from: dict[str, Any]) -> int | None:
    """Return the number of detections in a table that is there, or None."""
    if not store.exists(path):
        return None
    table = read_table(store, path)
    if (table.schema.metadata or {}).get(ORIGIN.encode()) != _json(made_from).encode():
        raise AlreadyExists(
            "ERROR_REASON_ARTIFACT_EXISTS",
            f"the table {path!r} exists and is made from something else",
            name=path,
        )
    return int(table.num_rows)


def _json(made_from: dict[str, Any]) -> str:
    return json.dumps(made_from, sort_keys=True)
