"""How near points are to their nearest neighbours, and which of them is nearest of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parfocal_suggestion.distances import lifted, lifted_gaps, middle, rounding
from parfocal_suggestion.pool import Floats, Mask, Rows

_ENTRIES = 1 << 22
_FIRST = 16
"""Points that are looked at closely before any other, to know what there is to beat."""
_BLOCK_ENTRIES = 1 << 17
"""A block of distances that stays in a processor's cache while it is worked on."""
_TINY = np.finfo(np.float32).tiny
_ROUNDED_UP = np.float32(1 + 1e-4)
"""More than a mean of distances, one over it, or a sum of them can be off."""


def mean_distance_to_nearest(points: Floats, count: int) -> Floats:
    """Mean distance (N,) of each point to the `count` nearest of the others.

    Args:
        points: (N, d), N > `count`.
        count: Neighbours, at least 1.
    """
    centred = points - middle(points)
    everyone = np.arange(len(points))
    parts = [
        _mean_of_nearest(centred, rows, gaps, count)
        for rows, gaps in _all_gaps(lifted(centred), everyone, count)
    ]
    return np.concatenate(parts)


def smallest_mean_distances(
    points: Floats, count: int, among: Mask, *, floor: float
) -> tuple[Rows, Floats]:
    """Points whose mean distance to their nearest may be the smallest, and those distances.

    Only what cannot be ruled out is computed, which is a few points of thousands.

    Args:
        points: (N, d), N > `count`.
        count: Neighbours, at least 1.
        among: (N,) True where a point counts; the others are neighbours only.
        floor: Distances below it are equals.

    Returns:
        Rows (n,), ascending, the smallest and what equals it included, and their mean distances
        (n,) as `mean_distance_to_nearest` gives them.
    """
    return _Search(points, count, floor).among(np.flatnonzero(among))


class _Search:
    """The smallest mean distance found so far, and the points that may have a smaller one."""

    def __init__(self, points: Floats, count: int, floor: float) -> None:
        self._count = count
        self._centred = points - middle(points)
        self._lifted = lifted(self._centred)
        norms = self._lifted[:, -2]
        self._slack = rounding(points.shape[1]) * (norms + norms.max())
        self._floor = np.float32(floor) * _ROUNDED_UP
        self._least = np.float32(np.inf)
        self._reach = np.float32(0)

    def among(self, asked: Rows) -> tuple[Rows, Floats]:
        """Return the rows of `asked` that may have the smallest mean distance, and the means."""
        first = np.arange(0, len(asked), max(1, len(asked) // _FIRST))
        found = [self._look_closely(asked[first])]
        rest = np.delete(asked, first)
        step = max(1, _BLOCK_ENTRIES // len(self._lifted))
        room = np.empty((step, len(self._lifted)), np.float32)
        for start in range(0, len(rest), step):
            rows = rest[start : start + step]
            found.append(self._look_closely(rows[self._may_win(rows, room[: len(rows)])]))
        rows, means = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.argsort(rows)
        return rows[order], means[order]

    def _may_win(self, rows: Rows, room: Floats) -> Mask:
        """Rule out rows by a bound on the mean distance to their nearest.

        With t the reach and u = min(g, t^2) of each squared distance g, the `count` smallest u sum
        to at least count t^2 - sum(t^2 - u) over all others. All u lie between a^2, that of the
        nearest, and t^2, where the root is above its chord: sqrt(u) >= (u + a t) / (a + t).
        """
        turned = self._lifted[rows] * np.float32(2)
        turned[:, -2] = -1
        turned[:, -1] = self._reach + self._slack[rows] - self._lifted[rows, -2]
        np.matmul(turned, self._lifted.T, out=room)
        within = np.maximum(room, 0, out=room)
        within[np.arange(len(rows)), rows] = 0
        nearest = np.sqrt(np.maximum(self._reach - within.max(axis=1), 0))
        reach = np.sqrt(self._reach)
        means = self._reach - within.sum(axis=1) * _ROUNDED_UP / np.float32(self._count)
        least = (means + nearest * reach) / (nearest + reach)
        mask: Mask = least <= max(self._least, self._floor) * _ROUNDED_UP
        return mask

    def _look_closely(self, rows: Rows) -> tuple[Rows, Floats]:
        """Return those of `rows` that rounding leaves in doubt; lower what there is to beat."""
        found, means = [np.empty(0, np.intp)], [np.empty(0, np.float32)]
        for some, gaps in _all_gaps(self._lifted, rows, self._count):
            squared = np.partition(gaps, self._count - 1, axis=1)[:, : self._count]
            unsure = self._slack[some, None]
            above = np.sqrt(np.maximum(squared, 0) + unsure).mean(axis=1) * _ROUNDED_UP
            below = np.sqrt(np.maximum(squared - unsure, 0)).mean(axis=1)
            best = above.argmin()
            if above[best] < self._least:
                self._least = above[best]
                self._reach = max(squared[best].max() + unsure[best, 0], _TINY)
            close = below <= max(self._least, self._floor)
            found.append(some[close])
            means.append(_mean_of_nearest(self._centred, some[close], gaps[close], self._count))
        return np.concatenate(found), np.concatenate(means)


def _all_gaps(lifted: Floats, rows: Rows, count: int) -> Iterator[tuple[Rows, Floats]]:
    """Blocks of `rows`, and their squared distances to all; infinite to itself."""
    step = max(1, _ENTRIES // (len(lifted) + count * lifted.shape[1]))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        gaps = lifted_gaps(lifted[some], lifted)
        gaps[np.arange(len(some)), some] = np.inf
        yield some, gaps


def _mean_of_nearest(centred: Floats, rows: Rows, gaps: Floats, count: int) -> Floats:
    near = np.argpartition(gaps, count - 1, axis=1)[:, :count]
    # Differences of products find the neighbours; their distances are taken exactly.
    difference = centred[rows][:, None] - centred[near]
    means: Floats = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference)).mean(axis=1)
    return means
