"""Objects in an image, each with its box, its size and what the model thought of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parfocal_inference.sections import Integers, Sections


@dataclass(frozen=True)
class Objects:
    """N objects of an image in the order of their boxes' starts, then of their first voxels.

    Attributes:
        start: (N, 3) int64, first voxel of the box (z, y, x).
        stop: (N, 3) int64, first voxel outside.
        voxels: (N,) int64.
        centroid: (N, 3) float64, mean of the voxels' indices (z, y, x).
        mean_probability: (N,) float64, over the object's voxels, 0 to 1.
        max_probability: (N,) float64, likewise.
        sections: The sections of each, by object and then section; `sections.label` is the row
            of the object here.
    """

    start: Integers
    stop: Integers
    voxels: Integers
    centroid: npt.NDArray[np.float64]
    mean_probability: npt.NDArray[np.float64]
    max_probability: npt.NDArray[np.float64]
    sections: Sections

    def __len__(self) -> int:
        return len(self.voxels)

    def where(self, keep: npt.NDArray[np.bool_]) -> Objects:
        """Return the objects that a mask (N,) names, in the same order."""
        rows = np.cumsum(keep) - 1
        sections = self.sections.take(keep[self.sections.label])
        return _ordered(sections.relabelled(rows[sections.label]))


def objects_of(sections: Sections) -> tuple[Objects, Integers]:
    """Return the objects whose sections these are, and the label that each had.

    Args:
        sections: Sorted by label and section, as `Sections.relabelled` returns them.
    """
    rows = np.flatnonzero(np.diff(sections.label, prepend=-1))
    old_labels = sections.label[rows]
    start = np.stack([_fold(np.minimum, c, rows) for c in _lows(sections)], axis=1)
    first = _fold(np.minimum, sections.first, rows)
    order = np.lexsort((first, *start.T[::-1]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    row_of = np.repeat(rank, np.diff(rows, append=len(sections)))
    return _ordered(sections.relabelled(row_of)), old_labels[order]


def _ordered(sections: Sections) -> Objects:
    rows = np.flatnonzero(np.diff(sections.label, prepend=-1))
    voxels = _fold(np.add, sections.area, rows)
    sums = (sections.z * sections.area, sections.y_sum, sections.x_sum)
    highs = (sections.z, sections.y_high, sections.x_high)
    return Objects(
        start=np.stack([_fold(np.minimum, c, rows) for c in _lows(sections)], axis=1),
        stop=np.stack([_fold(np.maximum, c, rows) + 1 for c in highs], axis=1),
        voxels=voxels,
        centroid=np.stack([_fold(np.add, c, rows) / voxels for c in sums], axis=1),
        mean_probability=_fold(np.add, sections.probability_sum, rows) / (255 * voxels),
        max_probability=_fold(np.maximum, sections.probability_high, rows) / 255,
        sections=sections,
    )


def _lows(sections: Sections) -> tuple[Integers, Integers, Integers]:
    return (sections.z, sections.y_low, sections.x_low)


def _fold(function: np.ufunc, column: Integers, rows: Integers) -> Integers:
    return function.reduceat(column, rows) if len(rows) else column[:0]
