"""The cells of a campaign: one file each, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from parfocal_bench.protocol import Json, Protocol, Row

_FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """One arm with one seed.

    Attributes:
        arm: Name of the arm.
        seed: The seed.
        settings: All that decides the result.
    """

    arm: str
    seed: int
    settings: Mapping[str, Json]

    @property
    def key(self) -> str:
        """Content hash of the settings: equal keys are equal cells."""
        text = json.dumps(self.settings, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Name of the file with the result."""
        return f"{self.arm}-{self.seed}-{self.key[:16]}.json"


@dataclass(frozen=True)
class Finished:
    """A cell with its result.

    Attributes:
        cell: The cell.
        rows: Its learning curve.
        seconds: How long it ran, on a clock on the wall.
    """

    cell: Cell
    rows: Sequence[Row]
    seconds: float


def cells_of(protocol: Protocol, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Return the cells, seed by seed, so that whole pairs are finished early."""
    settings, all_arms = dict(protocol.settings()), protocol.arms()
    return [
        Cell(
            arm,
            seed,
            {
                "format": _FORMAT,
                "protocol": settings,
                "arm": {"name": arm, **all_arms[arm]},
                "seed": seed,
            },
        )
        for seed in seeds
        for arm in arms
    ]


def read_cell(folder: Path, cell: Cell) -> Finished | None:
    """Return the result of a cell, or None where there is none."""
    try:
        text = (folder / cell.file_name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    stored = json.loads(text)
    if stored["key"] != cell.key:
        return None
    rows = [
        Row(row["labels"], {name: _number(value) for name, value in row["values"].items()})
        for row in stored["rows"]
    ]
    return Finished(cell, rows, stored["seconds"])


def write_cell(folder: Path, finished: Finished) -> None:
    """Write the result of a cell; a process that dies leaves the old state."""
    stored = {
        "key": finished.cell.key,
        "settings": finished.cell.settings,
        "seconds": finished.seconds,
        "rows": [
            {"labels": row.labels, "values": {k: _plain(v) for k, v in row.values.items()}}
            for row in finished.rows
        ],
    }
    text = json.dumps(stored, indent=1, allow_nan=False) + "\n"
    write_whole(folder / finished.cell.file_name, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever looks sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def short_hash(decided: object) -> str:
    """Return a name for a file of what was decided by plain values."""
    return hashlib.sha256(repr(decided).encode()).hexdigest()[:16]


def arrays_file(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a .npz file."""
    content = io.BytesIO()
    savez: Any = np.savez  # its keywords are names of arrays, which its types do not know
    savez(content, **arrays)
    return content.getvalue()


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
