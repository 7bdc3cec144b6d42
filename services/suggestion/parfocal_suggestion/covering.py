"""Greedy covering: again and again the window that covers most of what is not covered yet.

The count of every window is kept up to date: a patch that becomes covered is taken off the windows
that reach it, which happens once for each patch however many windows are chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.pool import Mask, Rows
from parfocal_suggestion.selection import Checkpoint, no_checkpoint
from parfocal_suggestion.subvolumes import Windows

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
    """How many uncovered patches each window would cover."""

    def __init__(
        self, neighbours: NDArray[np.int32], windows: Windows, admissible: Mask, covered: Mask
    ) -> None:
        self._neighbours = neighbours
        self._windows = windows
        self._covered = covered.copy()
        # The patches by which each patch is reached, one after the other.
        patches = np.arange(len(neighbours))
        pairs = np.sort((neighbours * np.int64(len(patches)) + patches[:, None]).reshape(-1))
        self._reaching = pairs % len(patches)
        self._edges = np.searchsorted(pairs, np.arange(len(patches) + 1) * len(patches))
        self._holding = windows.holding()
        self._counts = np.full(len(admissible), _CLOSED, np.int32)
        open_ = np.flatnonzero(admissible)
        self._counts[open_] = self._count(open_)

    def largest(self, *, last: bool) -> int | None:
        """The first (or last) window with the largest count; None where all are closed."""
        if not len(self._counts):
            return None
        window = int(np.argmax(self._counts[::-1] if last else self._counts))
        window = len(self._counts) - 1 - window if last else window
        return None if self._counts[window] < 0 else window

    def cover(self, window: int) -> int:
        """Cover what a window reaches, and return how many patches that newly are."""
        reached = np.unique(self._neighbours[self._windows.members(np.array([window]))[0]])
        new = reached[~self._covered[reached]]
        self._covered[new] = True
        pairs = np.cumsum(self._edges[new + 1] - self._edges[new]) * self._holding.shape[1]
        pieces = np.searchsorted(pairs, np.arange(_AT_ONCE, pairs.max(initial=0), _AT_ONCE))
        for piece in np.split(new, pieces):
            self._take_off(piece)
        return len(new)

    def close(self, which: tuple[slice, slice, slice] | Mask) -> None:
        """Let windows never be chosen again."""
        self._counts.reshape(self._windows.anchors)[which] = _CLOSED

    def _take_off(self, patches: Rows) -> None:
        sizes = self._edges[patches + 1] - self._edges[patches]
        owners = np.repeat(np.arange(len(patches)), sizes)
        inside = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        reaching = self._reaching[self._edges[patches][owners] + inside]
        windows = self._holding[reaching]
        useful = (windows >= 0) & (self._counts[windows] > 0)
        windows = windows[useful]
        if useful.shape[1] > 1:
            # Several patches of a window may reach the same patch, which counts once.
            owners = np.broadcast_to(owners[:, None], useful.shape)[useful]
            pairs = np.sort(owners * len(self._counts) + windows)
            windows = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
            windows %= len(self._counts)
        np.subtract.at(self._counts, windows, np.int32(1))

    def _count(self, some: Rows) -> NDArray[np.int32]:
        width = self._neighbours.shape[1] * self._holding.shape[1]
        counts = np.empty(len(some), np.int32)

        def work(part: slice) -> None:
            members = self._windows.members(some[part])
            reached = self._neighbours[members].reshape(len(members), width)
            new = ~self._covered[reached]
            if members.shape[1] > 1:
                reached[~new] = -1
                reached.sort(axis=1)
                new = reached >= 0
                new[:, 1:] &= reached[:, 1:] != reached[:, :-1]
            counts[part] = np.count_nonzero(new, axis=1)

        for _ in in_blocks(work, len(some), max(1, _AT_ONCE // width)):
            pass
        return counts
