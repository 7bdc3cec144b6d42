"""Windows of patches on a grid: the sub-volumes that a person annotates as one piece."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Ids, Mask, Rows

Triple: TypeAlias = tuple[int, int, int]


def grid_starts(extent: int, size: int, stride: int) -> NDArray[np.int64]:
    """Where patches start along an axis: every `stride`, the last moved back to end at the border.

    Args:
        extent: Voxels of the axis.
        size: Voxels of a patch, at most `extent`.
        stride: Voxels from one start to the next.
    """
    count = 1 + -(-(extent - size) // stride)
    return np.minimum(np.arange(count) * stride, extent - size)


@dataclass(frozen=True)
class Windows:
    """All windows of one size, in raster order of their first patch (z slowest, x fastest).

    Attributes:
        corners: (N, 3) int64 voxel where each patch starts, zyx; the values that occur along an
            axis make the grid, which may have holes.
        patch: Voxels of a patch, zyx.
        window: Patches of a window, zyx.
    """

    corners: Ids
    patch: Triple
    window: Triple

    @cached_property
    def starts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where patches start along each axis."""
        z, y, x = (np.unique(self.corners[:, axis]) for axis in range(3))
        return z, y, x

    @cached_property
    def rows(self) -> Rows:
        """(gz, gy, gx) the patch at each place of the grid, -1 where there is none."""
        places = np.full([len(each) for each in self.starts], -1, np.intp)
        index = [np.searchsorted(self.starts[axis], self.corners[:, axis]) for axis in range(3)]
        places[tuple(index)] = np.arange(len(self.corners))
        return places

    @cached_property
    def anchors(self) -> Triple:
        """Places along each axis at which a window can begin, at least 0."""
        z, y, x = (
            max(0, side - wide + 1) for side, wide in zip(self.rows.shape, self.window, strict=True)
        )
        return z, y, x

    def members(self, windows: Rows) -> Rows:
        """Patches (W, patches of a window) of some windows, -1 where the grid has a hole."""
        first = np.unravel_index(windows, self.anchors)
        offsets = np.unravel_index(np.arange(np.prod(self.window)), self.window)
        rows: Rows = self.rows[tuple(a[:, None] + b for a, b in zip(first, offsets, strict=True))]
        return rows

    def holding(self) -> NDArray[np.int32]:
        """(N, patches of a window) the windows that each patch is in, -1 for less of them."""
        places = np.stack(np.nonzero(self.rows >= 0), axis=1)
        offsets = np.stack(np.unravel_index(np.arange(np.prod(self.window)), self.window), axis=1)
        first = places[:, None] - offsets
        inside = np.all((first >= 0) & (first < np.array(self.anchors)), axis=2)
        strides = np.array([self.anchors[1] * self.anchors[2], self.anchors[2], 1])
        holding = np.empty((len(self.corners), len(offsets)), np.int32)
        holding[self.rows[self.rows >= 0]] = np.where(inside, first @ strides, -1)
        return holding

    def whole(self, usable: Mask) -> Mask:
        """(W,) True where every patch of the window is there and usable (N,)."""
        if 0 in self.anchors:
            return np.zeros(0, np.bool_)
        good = np.append(usable, False)[self.rows]
        for axis, wide in enumerate(self.window):
            kept = good.shape[axis] - wide + 1
            pieces = (good.take(np.arange(kept) + step, axis=axis) for step in range(wide))
            good = np.logical_and.reduce(list(pieces))
        return good.reshape(-1)

    def voxels(self, window: int) -> int:
        """Voxels of the sub-volume of a window."""
        low, high = self._ends()
        place = np.unravel_index(window, self.anchors)
        return int(np.prod([h[p] - s[p] for s, h, p in zip(low, high, place, strict=True)]))

    def sharing_patches(self, window: int) -> tuple[slice, slice, slice]:
        """The windows, as a box of the anchors, that share a patch with one; itself included."""
        place = np.unravel_index(window, self.anchors)
        z, y, x = (
            slice(max(0, int(at) - wide + 1), int(at) + wide)
            for at, wide in zip(place, self.window, strict=True)
        )
        return z, y, x

    def overlaps(self, window: int) -> NDArray[np.float64]:
        """(anchors) share of the voxels of each sub-volume that lie in that of one window."""
        low, high = self._ends()
        place = np.unravel_index(window, self.anchors)
        shares = []
        for start, stop, at in zip(low, high, place, strict=True):
            common = np.minimum(stop, stop[at]) - np.maximum(start, start[at])
            shares.append(np.maximum(common, 0) / (stop - start))
        common_share: NDArray[np.float64] = (
            shares[0][:, None, None] * shares[1][:, None] * shares[2]
        )
        return common_share

    def _ends(self) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        low = [start[:count] for start, count in zip(self.starts, self.anchors, strict=True)]
        high = [
            start[wide - 1 :] + size
            for start, wide, size in zip(self.starts, self.window, self.patch, strict=True)
        ]
        return low, high
