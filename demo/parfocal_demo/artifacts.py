"""What the campaign reads from the object store: arrays and candidate sets, never writing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parfocal_demo.evaluation import is_correct
from parfocal_runtime.arrays import open_array
from parfocal_runtime.layout import image_level, prediction_group, truth_level
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table

PROJECT = "demo"
IMAGE = "volume"


@dataclass(frozen=True)
class CandidateSet:
    """A candidate set and the truth about it.

    Attributes:
        folder: Path of the set.
        objects: Candidate + 1 of each voxel, 0 where there is none, uint32 (z, y, x).
        boxes: Half-open boxes, int64 (N, 6): z0, y0, x0, z1, y1, x1.
        section: Section that stands for each candidate, (N,).
        correct: Whether each covers more than half of the truth in its box, bool (N,).
    """

    folder: str
    objects: NDArray[np.uint32]
    boxes: NDArray[np.int64]
    section: NDArray[np.int64]
    correct: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


class Artifacts:
    """The campaign's image, truth, maps and candidate sets.

    Args:
        store: The object store.
        level: Resolution level that is worked on.
        views: Views of each window that maps are the mean of.
    """

    def __init__(self, store: ObjectStore, *, level: int, views: int) -> None:
        self._store = store
        self.level = level
        self._views = views
        self.image_path = image_level(PROJECT, IMAGE, level)
        self.truth_path = truth_level(PROJECT, IMAGE, level)
        self.image: NDArray[np.uint8] = self._read(self.image_path)
        self.truth: NDArray[np.bool_] = self._read(self.truth_path) != 0

    def prediction_path(self, model: str) -> str:
        """Path of the probability map of `name/version`, the one that rounds use too."""
        name, _, version = model.partition("/")
        group = prediction_group(PROJECT, IMAGE, name, int(version), views=self._views)
        return f"{group}/{self.level}"

    def prediction(self, model: str) -> NDArray[np.uint8]:
        """Return the probability map of `name/version`, uint8 (z, y, x)."""
        return self._read(self.prediction_path(model))

    def candidates(self, folder: str) -> CandidateSet:
        """Return a candidate set of the campaign's image with the truth about it."""
        table = read_table(self._store, f"{folder}/table.parquet")
        objects: NDArray[np.uint32] = self._read(f"{folder}/objects-0.zarr")
        sides = [table[side].to_numpy() for side in ("z0", "y0", "x0", "z1", "y1", "x1")]
        boxes = np.stack(sides, axis=1).astype(np.int64)
        section = table["slice"].to_numpy().astype(np.int64)
        return CandidateSet(folder, objects, boxes, section, judge(objects, self.truth, boxes))

    def _read(self, path: str) -> NDArray[Any]:
        return np.asarray(open_array(self._store, path).read().result())


def judge(
    objects: NDArray[np.uint32], truth: NDArray[np.bool_], boxes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether each candidate is right, bool (N,).

    Args:
        objects: Candidate + 1 of each voxel, (z, y, x).
        truth: Ground truth, (z, y, x).
        boxes: Half-open boxes (N, 6): z0, y0, x0, z1, y1, x1.
    """
    correct = np.zeros(len(boxes), bool)
    for candidate, (z0, y0, x0, z1, y1, x1) in enumerate(boxes):
        at = (slice(z0, z1), slice(y0, y1), slice(x0, x1))
        correct[candidate] = is_correct(objects[at] == candidate + 1, truth[at])
    return correct
