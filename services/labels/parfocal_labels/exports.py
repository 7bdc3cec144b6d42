"""Snapshots in formats of other programs, in the object store.

What is written depends on the snapshot, the format and the candidate set alone, and so does its
path: an export that is there already is not made again. A file is created whole; of a folder one
file is created last, and the folder counts once that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parfocal_labels.accepted import Accepted, accepted_candidates
from parfocal_labels.candidate_sets import CandidateSet, impossible, open_candidate_set
from parfocal_labels.formats import coco, neuroglancer, omezarr
from parfocal_labels.formats.csv import csv_bytes
from parfocal_labels.formats.tiles import Boxes
from parfocal_labels.records import Snapshot
from parfocal_runtime.arrays import open_array, read_box
from parfocal_runtime.layout import export_path
from parfocal_runtime.source_images import SourceImage, distinct_names
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_runtime.tasks import CancelFlag


class ExportFormat(Enum):
    """A format of other programs."""

    CSV = "csv"
    COCO = coco.NAME
    OME_ZARR = omezarr.NAME
    NEUROGLANCER = neuroglancer.NAME


_COMPLETED_BY = {ExportFormat.OME_ZARR: "/zarr.json", ExportFormat.NEUROGLANCER: "/layers.json"}


@dataclass(frozen=True)
class Export:
    """What is to be written.

    Attributes:
        format: The format.
        candidate_set: Only queries of this set; empty for all.
    """

    format: ExportFormat
    candidate_set: str = ""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: Path of the file or the folder.
        rows: Queries of the snapshot in it.
    """

    path: str
    rows: int


def export_snapshot(
    store: ObjectStore, snapshot: Snapshot, export: Export, *, cancel: CancelFlag
) -> Exported:
    """Write a snapshot in another format, unless it is there already.

    Args:
        store: Where everything is.
        snapshot: The snapshot.
        export: What is to be written.
        cancel: Asked between blocks.

    Raises:
        WrongState: If what the format needs is missing, or no query of the snapshot is of the
            candidate set (`ERROR_REASON_EXPORT_IMPOSSIBLE`).
    """
    table = read_table(store, snapshot.path)
    if export.candidate_set:
        table = table.filter(pc.equal(table["candidate_set"], export.candidate_set))
        if not table.num_rows:
            missing = f"a decided query of the candidate set {export.candidate_set}"
            raise impossible(export.format.value, missing)
    path = export_path(
        snapshot.project, snapshot.sha256, export.format.value, candidate_set=export.candidate_set
    )
    rows = _rows(table, export.format)
    if not store.exists(path + _COMPLETED_BY.get(export.format, "")):
        _WRITERS[export.format](store, snapshot, table, path, cancel)
    return Exported(path, rows)


def _rows(table: pa.Table, format_: ExportFormat) -> int:
    if format_ in (ExportFormat.CSV, ExportFormat.NEUROGLANCER):
        return int(table.num_rows)
    return sum(map(len, accepted_candidates(table).values()))


def _write_csv(
    store: ObjectStore, snapshot: Snapshot, table: pa.Table, path: str, cancel: CancelFlag
) -> None:
    store.create(path, csv_bytes(table))


def _write_coco(
    store: ObjectStore, snapshot: Snapshot, table: pa.Table, path: str, cancel: CancelFlag
) -> None:
    accepted = accepted_candidates(table)
    parts = [
        part
        for candidates in _sets(store, snapshot, table, coco.NAME)
        for part in _parts(store, table, candidates, accepted.get(candidates.name, []))
    ]
    created = snapshot.create_time
    store.create(
        path,
        coco.coco_bytes(parts, snapshot=snapshot.sha256, created=created, cancel=cancel),
    )


def _parts(
    store: ObjectStore, table: pa.Table, candidates: CandidateSet, accepted: list[Accepted]
) -> list[coco.Part]:
    """Return the images of a set that have judged candidates in them."""
    judged = np.unique(_candidates(table, candidates.name))
    parts = []
    for number, (image, objects) in enumerate(
        zip(candidates.images, candidates.objects, strict=True)
    ):
        here = judged[candidates.source[judged] == number]
        inside = [each for each in accepted if candidates.source[each.candidate] == number]
        rows = np.array([each.candidate for each in inside], np.int64)
        read = partial(read_box, open_array(store, objects)) if objects else None
        if len(here):
            boxes = candidates.boxes
            parts.append(coco.Part(image, boxes[here], inside, boxes[rows], read))
    return parts


def _write_omezarr(
    store: ObjectStore, snapshot: Snapshot, table: pa.Table, path: str, cancel: CancelFlag
) -> None:
    [candidates] = _sets(store, snapshot, table, omezarr.NAME)
    accepted = accepted_candidates(table).get(candidates.name, [])
    omezarr.write_labels(store, path, candidates, accepted, snapshot=snapshot.sha256, cancel=cancel)


def _write_neuroglancer(
    store: ObjectStore, snapshot: Snapshot, table: pa.Table, path: str, cancel: CancelFlag
) -> None:
    found: dict[str, tuple[SourceImage, list[pa.Table], list[Boxes]]] = {}
    for candidates in _sets(store, snapshot, table, neuroglancer.NAME):
        own = table.filter(pc.equal(table["candidate_set"], candidates.name))
        rows = own["candidate"].to_numpy()
        for number, image in enumerate(candidates.images):
            here = candidates.source[rows] == number
            if here.any():
                _, tables, boxes = found.setdefault(image.path, (image, [], []))
                tables.append(own.filter(pa.array(here)))
                boxes.append(candidates.boxes[rows[here]])
    names = distinct_names([image for image, *_ in found.values()])
    layers = [
        neuroglancer.Layer(name, image, pa.concat_tables(tables), np.concatenate(boxes))
        for name, (image, tables, boxes) in zip(names, found.values(), strict=True)
    ]
    neuroglancer.write_layers(store, path, layers, cancel=cancel)


def _sets(
    store: ObjectStore, snapshot: Snapshot, table: pa.Table, format_: str
) -> list[CandidateSet]:
    """Return the candidate sets that a table speaks of, by name."""
    names = sorted(set(table["candidate_set"].to_pylist()))
    if not names:
        raise impossible(format_, "a decided query")
    sets = [open_candidate_set(store, snapshot.project, name, format_=format_) for name in names]
    for candidates in sets:
        highest = int(_candidates(table, candidates.name).max())
        if highest >= len(candidates):
            raise impossible(format_, f"candidate {highest} of {candidates.name}")
    return sets


def _candidates(table: pa.Table, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    own = table.filter(pc.equal(table["candidate_set"], name))
    return np.asarray(own["candidate"].to_numpy(), np.int64)


_Writer = Callable[[ObjectStore, Snapshot, pa.Table, str, CancelFlag], None]
_WRITERS: dict[ExportFormat, _Writer] = {
    ExportFormat.CSV: _write_csv,
    ExportFormat.COCO: _write_coco,
    ExportFormat.OME_ZARR: _write_omezarr,
    ExportFormat.NEUROGLANCER: _write_neuroglancer,
}
