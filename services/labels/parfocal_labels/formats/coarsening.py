"""Coarser levels of a label image, shaped as those of the image that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parfocal_labels.formats.tiles import Boxes
from parfocal_runtime.box import Box, Triple

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Coarsening:
    """How one level becomes the next.

    Attributes:
        edges: By axis z, y, x: where the window of each coarse voxel begins in the finer level,
            and where the last one ends.
    """

    edges: tuple[Integers, Integers, Integers]

    def source(self, box: Box) -> Box:
        """Return the box of the finer level that a box of the coarse one is made from."""
        corners = [
            (int(edges[low]), int(edges[high]))
            for edges, low, high in zip(self.edges, box.start, box.stop, strict=True)
        ]
        (z0, z1), (y0, y1), (x0, x1) = corners
        return Box((z0, y0, x0), (z1, y1, x1))

    def apply(self, finer: npt.NDArray[np.uint32], box: Box) -> npt.NDArray[np.uint32]:
        """Return the voxels of `box` from those of `source(box)`: the greatest of each window.

        So an object of one voxel is seen at every level; where two share a window, the one with
        the greater number wins.
        """
        for axis, (edges, low, high) in enumerate(
            zip(self.edges, box.start, box.stop, strict=True)
        ):
            finer = _maxima(finer, edges[low : high + 1] - edges[low], axis=axis)
        return finer

    def boxes(self, finer: Boxes) -> Boxes:
        """Return the boxes (N, 6) of the coarse level that boxes of the finer one fall into."""
        columns = []
        for axis, edges in enumerate(self.edges):
            size = len(edges) - 1
            low = np.searchsorted(edges, finer[:, axis], side="right") - 1
            high = np.searchsorted(edges, finer[:, axis + 3], side="left")
            low = np.minimum(low, size - 1)
            columns.append((low, np.clip(high, low + 1, size)))
        lows, highs = zip(*columns, strict=True)
        return np.stack([*lows, *highs], axis=1).astype(np.int64)


def coarsening(finer: Triple, coarse: Triple) -> Coarsening:
    """Return how a level of shape `coarse` is made from one of shape `finer`, both (z, y, x)."""
    z, y, x = (_edges(*sides) for sides in zip(finer, coarse, strict=True))
    return Coarsening((z, y, x))


def _maxima(
    voxels: npt.NDArray[np.uint32], edges: Integers, *, axis: int
) -> npt.NDArray[np.uint32]:
    """Return the greatest number of each window along an axis."""
    widths = np.diff(edges)
    width = int(widths[0])
    if (widths[:-1] != width).any() or widths[-1] > width:
        return np.maximum.reduceat(voxels, edges[:-1], axis=axis)
    # Windows of one width, but for a narrower last one, many times as fast.
    line = np.moveaxis(voxels, axis, 0)
    found = line[::width].copy()
    for offset in range(1, width):
        part = line[offset::width]
        np.maximum(found[: len(part)], part, out=found[: len(part)])
    return np.moveaxis(found, 0, axis)


def _edges(finer: int, coarse: int) -> Integers:
    factor = max(1, round(finer / coarse))
    edges = np.arange(coarse + 1, dtype=np.int64) * factor
    if edges[-2] >= finer:
        # Sides that are no multiple of each other: windows of nearly equal width.
        edges = np.arange(coarse + 1, dtype=np.int64) * finer // coarse
    return np.minimum(edges, finer)
