"""Candidate sets as an export needs them: where each candidate lies, and in which image."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_runtime import layout
from parfocal_runtime.errors import NotFound, WrongState
from parfocal_runtime.source_images import SourceImage, source_image
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table

_CORNERS = ("z0", "y0", "x0", "z1", "y1", "x1")


@dataclass(frozen=True)
class CandidateSet:
    """Where the candidates of a set lie.

    Attributes:
        name: Its name.
        boxes: (N, 6) int64, half-open box of each candidate: z0, y0, x0, z1, y1, x1.
        source: (N,) int64, which of `images` each is in.
        images: What the candidates were found in.
        objects: By image: path of the array (z, y, x) uint32 with candidate + 1 where each lies;
            empty where the set does not keep it.
    """

    name: str
    boxes: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    images: tuple[SourceImage, ...]
    objects: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.boxes)


def impossible(format_: str, missing: str) -> WrongState:
    """Return the error of an export whose format needs what is not there."""
    return WrongState(
        "ERROR_REASON_EXPORT_IMPOSSIBLE",
        f"the snapshot cannot be written as {format_}: {missing} is missing",
        format=format_,
        missing=missing,
    )


def open_candidate_set(
    store: ObjectStore, project: str, name: str, *, format_: str
) -> CandidateSet:
    """Return a candidate set of a project.

    Raises:
        WrongState: If it is not there, not complete, or does not say where its candidates lie
            (`ERROR_REASON_EXPORT_IMPOSSIBLE`).
    """
    path = layout.candidate_table(project, name)
    try:
        table = read_table(store, path)
        record = json.loads(store.read(layout.candidate_record(project, name)))
        paths = [str(source["image"]) for source in record["sources"]]
        boxes = np.stack([_column(table, corner) for corner in _CORNERS], axis=1)
    except NotFound as error:
        raise impossible(format_, str(error.metadata["path"])) from error
    except (ValueError, KeyError, TypeError) as error:
        raise impossible(format_, f"where the candidates of {name} lie") from error
    source = _column(table, "source") if "source" in table.column_names else 0 * boxes[:, 0]
    if not set(np.unique(source).tolist()) <= set(range(len(paths))):
        raise impossible(format_, f"an image of the candidates of {name}")
    objects = [layout.candidate_objects(project, name, number) for number in range(len(paths))]
    kept = tuple(each if store.exists(f"{each}/zarr.json") else "" for each in objects)
    bounds = _bounds(boxes, source, count=len(paths))
    images = tuple(
        source_image(store, path, objects=array, bounds=bound)
        for path, array, bound in zip(paths, kept, bounds, strict=True)
    )
    return CandidateSet(name, boxes, source, images, kept)


def _column(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(table[name].to_numpy(), np.int64)


def _bounds(
    boxes: npt.NDArray[np.int64], source: npt.NDArray[np.int64], *, count: int
) -> list[tuple[int, int, int]]:
    """Return by image the least shape (z, y, x) that holds all boxes in it."""
    shapes = []
    for number in range(count):
        z, y, x = boxes[source == number, 3:].max(axis=0, initial=1).tolist()
        shapes.append((z, y, x))
    return shapes
