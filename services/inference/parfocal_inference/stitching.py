"""Finding out which labels of neighbouring blocks are one object."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from parfocal_inference.sections import Integers, Labels
from parfocal_runtime.box import Box, Triple

Offset = tuple[int, int, int]


@dataclass(frozen=True)
class _Face:
    """The last plane of a block along an axis, as the voxels that have a label."""

    start: tuple[int, int]
    shape: tuple[int, int]
    places: Integers
    labels: Integers

    @classmethod
    def of(cls, plane: Integers, start: tuple[int, int]) -> _Face:
        places = np.flatnonzero(plane)
        height, width = plane.shape
        return cls(start, (height, width), places, plane.ravel()[places])

    def paste(self, canvas: Integers, origin: tuple[int, int]) -> None:
        """Write the labels onto a canvas whose corner is at `origin`, as far as they reach it."""
        row, column = np.unravel_index(self.places, self.shape)
        row, column = row + self.start[0] - origin[0], column + self.start[1] - origin[1]
        height, width = canvas.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        canvas[row[inside], column[inside]] = self.labels[inside]


class Stitcher:
    """Collects which labels touch across the faces of blocks that come in zyx order.

    Only the front is kept: the last section of the layer of blocks below, and the last row and
    column of the blocks of this layer, and of these only voxels that have a label.

    Args:
        neighbours: Offsets (z, y, x) of the voxels that a voxel touches.
        block: Shape of the blocks; blocks start at multiples of it.
    """

    def __init__(self, neighbours: list[Offset], block: Triple) -> None:
        self._block = block
        self._offsets = [
            [offset[:axis] + offset[axis + 1 :] for offset in neighbours if offset[axis] == -1]
            for axis in range(3)
        ]
        self._faces: dict[tuple[int, Triple], _Face] = {}
        self._pairs: list[Integers] = []
        self._layer = 0

    def add(self, box: Box, labels: Labels, *, offset: int) -> None:
        """Take in the next block.

        Args:
            box: Where the block lies.
            labels: (z, y, x) of the block alone; 0 is background.
            offset: What makes labels unique over all blocks when it is added to them.
        """
        index = self._index(box)
        self._forget_below(index[0])
        for axis in range(3):
            if self._offsets[axis]:
                first, last = (_plane(labels, place, axis, offset) for place in (0, -1))
                across = _across(box.start, axis)
                self._pairs.append(
                    _touching(first, self._beyond(axis, index, first, across), self._offsets[axis])
                )
                self._faces[axis, index] = _Face.of(last, across)

    def roots(self, count: int) -> Integers:
        """Return (count + 1,) the object that each label belongs to; ids have no order."""
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])
        graph = coo_array(
            (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])),
            shape=(count + 1, count + 1),
        )
        _, roots = connected_components(graph, directed=False)
        return np.asarray(roots, np.int64)

    def _index(self, box: Box) -> Triple:
        z, y, x = (low // side for low, side in zip(box.start, self._block, strict=True))
        return (z, y, x)

    def _forget_below(self, layer: int) -> None:
        if layer == self._layer:
            return
        self._layer = layer
        self._faces = {
            (axis, index): face
            for (axis, index), face in self._faces.items()
            if axis == 0 and index[0] == layer - 1
        }

    def _beyond(
        self, axis: int, index: Triple, plane: Integers, start: tuple[int, int]
    ) -> Integers:
        """Return the labels that lie before a block's first plane, one voxel wider than it."""
        canvas = np.zeros((plane.shape[0] + 2, plane.shape[1] + 2), np.int64)
        for across in product((-1, 0, 1), repeat=2):
            step = (*across[:axis], -1, *across[axis:])
            z, y, x = (place + one for place, one in zip(index, step, strict=True))
            face = self._faces.get((axis, (z, y, x)))
            if face is not None:
                face.paste(canvas, (start[0] - 1, start[1] - 1))
        return canvas


def _plane(labels: Labels, place: int, axis: int, offset: int) -> Integers:
    plane = np.take(labels, place, axis=axis).astype(np.int64)
    return np.where(plane, plane + offset, 0)


def _across(triple: Triple, axis: int) -> tuple[int, int]:
    first, second = triple[:axis] + triple[axis + 1 :]
    return (first, second)


def _touching(
    plane: Integers, canvas: Integers, offsets: list[tuple[int, ...]]
) -> npt.NDArray[np.int64]:
    """Return (K, 2) the labels of `plane` and `canvas` that touch, the canvas one wider."""
    height, width = plane.shape
    found = []
    for row, column in offsets:
        beyond = canvas[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        both = (plane > 0) & (beyond > 0)
        found.append(np.stack([plane[both], beyond[both]], axis=1))
    return np.unique(np.concatenate(found), axis=0)
