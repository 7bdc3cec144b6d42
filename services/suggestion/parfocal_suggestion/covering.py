"""Greedy covering: again and again the window that covers most of what is not covered yet.

The count of every window is kept up to date: a patch that becomes covered is taken off the windows
that reach it, which happens once for each patch however many windows are chosen.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from parfocal_suggestion.pool import Mask, Rows
from parfocal_suggestion.selection import Checkpoint, no_checkpoint
from parfocal_suggestion.subvolumes import Windows

Places: TypeAlias = NDArray[np.int32]

_AT_ONCE = 1 << 20
"""Pairs of a patch and a window looked at in one piece."""
_CLOSED = np.int32(-(2**30))


def cover_greedily(
    neighbours: NDArray[np.int32],
    windows: Windows,
    admissible: Mask,
    covered: Mask,
    count: int,
    *,
    last: bool = False,
    most_overlap: float = 1.0,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[Rows, NDArray[np.int32]]:
    """Choose windows until `count` are chosen or none is admissible any more.

    Args:
        neighbours: (N, k) the patches that each patch covers, each once.
        windows: The windows, W of them.
        admissible: (W,) those that may be chosen. Two that share a patch never both are.
        covered: (N,) patches that are covered from the start.
        count: Windows wanted.
        last: Of equals take the last in raster order, not the first.
        most_overlap: Largest share of the voxels of a sub-volume that may lie in one that was
            chosen before, 0 to 1.
        checkpoint: Called once per pick.

    Returns:
        The chosen windows in order, and how many patches each newly covered.
    """
    counts = _Counts(neighbours, windows, admissible, covered)
    chosen: list[int] = []
    gains: list[int] = []
    for _ in range(count):
        checkpoint()
        window = counts.largest(last=last)
        if window is None:
            break
        chosen.append(window)
        gains.append(counts.cover(window))
        counts.close(windows.sharing_patches(window))
        if most_overlap < 1:
            counts.close(windows.overlaps(window) > most_overlap)
    return np.array(chosen, np.intp), np.array(gains, np.int32)


class _Counts:
    """How many uncovered patches each window would cover.

    The grid gets a margin before its first places, so that the windows that hold a place are those
    that begin at it and before it, without a look at borders. Counts lie where windows begin.
    """

    def __init__(
        self, neighbours: NDArray[np.int32], windows: Windows, admissible: Mask, covered: Mask
    ) -> None:
        self._neighbours = neighbours
        self._windows = windows
        self._covered = covered.copy()
        self._margin = np.array(windows.window) - 1
        self._grid = windows.rows.shape + self._margin
        self._counts = np.zeros(np.prod(self._grid), np.int32)
        self._places, self._edges = self._reaching_places()
        self._add(np.flatnonzero(~covered), np.int32(1))
        found = np.where(admissible.reshape(windows.anchors), self._inside(), _CLOSED)
        self._counts.fill(_CLOSED)
        self._inside()[...] = found

    def largest(self, *, last: bool) -> int | None:
        """The first (or last) window with the largest count; None where all are closed."""
        place = int(np.argmax(self._counts[::-1] if last else self._counts))
        place = len(self._counts) - 1 - place if last else place
        if self._counts[place] < 0:
            return None
        anchor = np.array(np.unravel_index(place, self._grid)) - self._margin
        return int(np.ravel_multi_index(tuple(anchor), self._windows.anchors))

    def cover(self, window: int) -> int:
        """Cover what a window reaches, and return how many patches that newly are."""
        reached = np.unique(self._neighbours[self._windows.members(np.array([window]))[0]])
        new = reached[~self._covered[reached]]
        self._covered[new] = True
        self._add(new, np.int32(-1))
        return len(new)

    def close(self, which: tuple[slice, slice, slice] | Mask) -> None:
        """Let windows never be chosen again."""
        self._inside()[which] = _CLOSED

    def _inside(self) -> NDArray[np.int32]:
        """The counts of windows that do not hang over the border, as a view (anchors)."""
        ends = zip(self._margin, self._windows.anchors, strict=True)
        return self._counts.reshape(self._grid)[tuple(slice(m, m + n) for m, n in ends)]

    def _add(self, patches: Rows, number: np.int32) -> None:
        """Add to the count of each window a number for each of `patches` that it reaches."""
        sizes = self._edges[patches + 1] - self._edges[patches]
        most = max(1, _AT_ONCE // int(np.prod(self._windows.window)))
        pieces = np.searchsorted(np.cumsum(sizes), np.arange(most, sizes.sum(), most))
        *axes, (wide, _) = zip(self._windows.window, self._strides(), strict=True)
        steps = np.zeros(len(self._counts) + 1, np.int32)
        for piece in np.split(patches, pieces):
            places, edges = self._reached_from(piece)
            for length, stride in axes:
                places, edges = _with_those_before(places, edges, length, stride)
            if wide == 1:
                np.add.at(self._counts, places, number)
                continue
            # Along the last axis the windows that hold a place are a run that ends there, less what
            # belongs to the place before.
            np.add.at(steps, _run_starts(places, edges, wide), number)
            np.subtract.at(steps, places + 1, number)
        if wide > 1:
            self._counts += np.cumsum(steps[:-1], dtype=np.int32)

    def _reached_from(self, patches: Rows) -> tuple[Places, Places]:
        """Where the patches lie that reach each of some: their places, and the edges of each."""
        starts = self._edges[patches]
        ends = np.cumsum(self._edges[patches + 1] - starts)
        sizes = np.diff(ends, prepend=0)
        shift = np.repeat(starts - (ends - sizes), sizes)
        return self._places[np.arange(len(shift)) + shift], np.append(0, ends).astype(np.int32)

    def _strides(self) -> tuple[int, int, int]:
        _, height, width = self._grid.tolist()
        return height * width, width, 1

    def _reaching_places(self) -> tuple[Places, Rows]:
        """Places in raster order of the patches that reach each patch, and the edges of each."""
        rows = self._windows.rows
        patches, size = rows[rows >= 0], len(self._counts)
        places = (np.stack(np.nonzero(rows >= 0), axis=1) + self._margin) @ self._strides()
        pairs = (self._neighbours[patches] * np.int64(size) + places[:, None]).reshape(-1)
        pairs.sort()
        edges = np.searchsorted(pairs, np.arange(len(patches) + 1) * size)
        return (pairs % size).astype(np.int32), edges


def _run_starts(places: Places, edges: Places, wide: int) -> Places:
    """For each place `wide` - 1 before it, or next to the place before it if that is nearer."""
    starts = places - (wide - 1)
    starts[1:] = np.maximum(starts[1:], places[:-1] + 1)
    firsts = edges[:-1][np.diff(edges) > 0]
    starts[firsts] = places[firsts] - (wide - 1)
    return starts


def _with_those_before(
    places: Places, edges: Places, wide: int, stride: int
) -> tuple[Places, Places]:
    """Add to the places of each row the `wide` - 1 before each, `stride` apart, each only once."""
    if wide == 1:
        return places, edges
    shape = (len(edges) - 1, int(places.max(initial=0)) + 1)
    found = csr_array((np.ones(len(places), np.bool_), places, edges), shape=shape)
    reach = 1
    while reach < wide:
        step = min(reach, wide - reach)
        # A sum of truth values in rows that are in order merges them.
        found = found + csr_array((found.data, found.indices - step * stride, found.indptr), shape)
        reach += step
    return found.indices, found.indptr
