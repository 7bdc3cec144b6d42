"""Candidate sets and the verdicts on them, read from the object store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_runtime.arrays import finish_read, open_array
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput, NotFound, WrongState
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table

PATCH_BATCH = 256


@dataclass(frozen=True)
class CandidateSet:
    """An immutable table of candidates plus their patches.

    Attributes:
        name: Its last path component, by which snapshots speak of it.
        folder: Its folder.
        table: Its table.
        images: Path of each source image.
    """

    name: str
    folder: str
    table: pa.Table
    images: tuple[str, ...]

    def box(self, candidate: int) -> Box:
        """Return the ROI box of a candidate in its source image."""
        row = self.table.slice(candidate, 1).to_pylist()[0]
        return Box((row["z0"], row["y0"], row["x0"]), (row["z1"], row["y1"], row["x1"]))

    def source(self, candidate: int) -> int:
        """Return the index of a candidate's source image."""
        if "source" not in self.table.column_names:
            return 0
        return int(self.table["source"][candidate].as_py())

    def objects_path(self, source: int) -> str:
        """Return the array (z, y, x) uint32 that holds candidate + 1 where it lies, else 0."""
        return f"{self.folder}/objects-{source}.zarr"

    def __len__(self) -> int:
        return int(self.table.num_rows)


@dataclass(frozen=True)
class Judgement:
    """A candidate and whether people found it right."""

    candidates: CandidateSet
    candidate: int
    verdict: bool


def open_candidates(store: ObjectStore, folder: str) -> CandidateSet:
    """Read the table of a candidate set.

    Raises:
        NotFound: If the set is not there or not complete.
    """
    path = store.resolve(folder)
    table = read_table(store, f"{path}/table.parquet")
    return CandidateSet(path.rsplit("/", 1)[-1], path, table, _images(store, path))


def read_judgements(
    store: ObjectStore, snapshots: Sequence[str], sets: Sequence[CandidateSet]
) -> list[Judgement]:
    """Read the True and False verdicts of label snapshots, in a fixed order.

    Of two snapshots that speak of the same candidate the later one counts. Verdicts on sets that
    are not given, ties and classes are left out.

    Raises:
        NotFound: If a snapshot does not exist.
        InvalidInput: If it is no snapshot, or names a candidate that its set does not have.
        WrongState: If no verdict is left (`ERROR_REASON_TOO_FEW_LABELS`).
    """
    by_name = {candidates.name: candidates for candidates in sets}
    found: dict[tuple[str, int], bool] = {}
    for snapshot in snapshots:
        for name, candidate, verdict in _rows(read_table(store, store.resolve(snapshot)), snapshot):
            if name in by_name and verdict is not None:
                _require_candidate(by_name[name], candidate)
                found[name, candidate] = verdict
    if not found:
        raise WrongState(
            "ERROR_REASON_TOO_FEW_LABELS",
            "the snapshots hold no verdict on the given candidate sets",
            cause="no verdict",
        )
    return [Judgement(by_name[name], row, found[name, row]) for name, row in sorted(found)]


def read_patches(
    store: ObjectStore, candidates: CandidateSet, stream: str, rows: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Return the patches of some candidates, (n, side, side): uint8 `image` or int8 `mask`."""
    array = open_array(store, f"{candidates.folder}/patches.zarr/{stream}")
    parts = [
        finish_read(array, array[rows[at : at + PATCH_BATCH]].read())
        for at in range(0, len(rows), PATCH_BATCH)
    ]
    if not parts:
        return np.zeros((0, *array.shape[1:]), dtype=array.dtype.numpy_dtype)
    return np.concatenate(parts)


def _images(store: ObjectStore, folder: str) -> tuple[str, ...]:
    try:
        document = json.loads(store.read(f"{folder}/set.json"))
        return tuple(source["image"] for source in document["sources"])
    except NotFound:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{folder}/set.json does not say what the candidates were found in",
            field="candidates",
            value=folder,
        ) from error


def _rows(table: pa.Table, snapshot: str) -> list[tuple[str, int, bool | None]]:
    try:
        columns = [table[name].to_pylist() for name in ("candidate_set", "candidate", "verdict")]
    except KeyError as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{snapshot} is no label snapshot: it has no column {error}",
            field="snapshots",
            value=snapshot,
        ) from error
    return list(zip(*columns, strict=True))


def _require_candidate(candidates: CandidateSet, candidate: int) -> None:
    if not 0 <= candidate < len(candidates):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"a snapshot names candidate {candidate}, {candidates.name} has {len(candidates)}",
            field="snapshots",
            value=candidate,
        )
