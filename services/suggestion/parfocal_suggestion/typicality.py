"""How near points are to their nearest neighbours, and which of a group is nearest of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import lifted, lifted_gaps, rounding
from parfocal_suggestion.pool import Floats, Mask, Rows
from parfocal_suggestion.selection import Checkpoint, no_checkpoint

_ENTRIES = 1 << 22
"""Distances held at once, in each thread."""
_AT_ONCE = 8192
"""Members that a thread looks at before it tells: threads that tell often only take turns."""
_TILE = 256, 1024
"""Rows and columns of products that stay in a processor's cache while they are worked on."""
_SAMPLE, _FIRST = 8, 16
"""Members that tell how far neighbours are, and those that are looked at closely at first."""
_ROUNDED_UP = np.float32(1 + 1e-4)
"""More than a mean of distances, or a sum of them, can be off."""
_TINY = np.finfo(np.float32).tiny


def mean_distance_to_nearest(points: Floats, count: int) -> Floats:
    """Mean distance (N,) of each point to the `count` nearest of the others.

    Args:
        points: (N, d), N > `count`.
        count: Neighbours, at least 1.
    """
    return _Members(points, count).mean_distances(np.arange(len(points)))


def smallest_mean_distances(
    points: Floats,
    groups: Sequence[Rows],
    count: int,
    among: Mask,
    *,
    floor: float,
    checkpoint: Checkpoint = no_checkpoint,
) -> list[tuple[Rows, Floats]]:
    """In each group, the few members whose mean distance to their nearest may be the smallest.

    A bound rules out the others, without an order of their distances.

    Args:
        points: (N, d).
        groups: The rows of each group, ascending, at least 2. Neighbours are of one group.
        count: Neighbours, at least 1; all others of a group where it has fewer.
        among: (N,) True where a point counts, at least once in each group; the others are
            neighbours only.
        floor: Distances below it are equals.
        checkpoint: Called every few groups.

    Returns:
        For each group some rows (n,), ascending, the smallest and what equals it among them, and
        their mean distances (n,) as `mean_distance_to_nearest` gives them, to a rounding.
    """

    def work(part: slice) -> list[tuple[Rows, Floats]]:
        found = []
        for rows in groups[part]:
            members = _Members(points[rows], min(count, len(rows) - 1))
            smallest, means = _smallest(members, np.flatnonzero(among[rows]), floor)
            found.append((rows[smallest], means))
        return found

    found: list[tuple[Rows, Floats]] = []
    largest = max((len(rows) for rows in groups), default=1)
    for some in in_blocks(work, len(groups), max(1, _AT_ONCE // largest)):
        checkpoint()
        found += some
    return found


def _smallest(members: _Members, asked: Rows, floor: float) -> tuple[Rows, Floats]:
    """Some rows of `asked`, the smallest and what equals it included, and their mean distances."""
    bounds = members.bounds()[asked]
    first = min(_FIRST, len(asked))
    order = np.argpartition(bounds, first - 1)
    order, others = order[:first], order[first:]
    means = members.mean_distances(asked[order])
    others = others[bounds[others] <= max(means.min(), floor) * _ROUNDED_UP]
    if len(others):
        order = np.append(order, others)
        means = np.append(means, members.mean_distances(asked[others]))
    ascending = np.argsort(order)
    return asked[order[ascending]], means[ascending]


class _Members:
    """Members (n, d) of a group, and the mean distances to the `count` nearest others.

    Attributes:
        _placed: (n, d + 2) float32, the members lifted.
        _slack: How far rounding can put their squared distances off, generously.
    """

    def __init__(self, points: Floats, count: int) -> None:
        self._points, self._count = points, count
        self._placed = lifted(points - points.sum(axis=0) / np.float32(len(points)))
        self._slack = rounding(points.shape[1]) * 2 * self._placed[:, -2].max()

    def mean_distances(self, rows: Rows) -> Floats:
        """Mean distances (m,) of some members."""
        means = np.empty(len(rows), np.float32)
        for part, gaps in self._gaps(rows):
            near = np.argpartition(gaps, self._count - 1, axis=1)[:, : self._count]
            # Products find the neighbours; their distances are taken exactly, and in order.
            difference = self._points[rows[part], None] - self._points[near]
            squared = np.sort(np.einsum("nkd,nkd->nk", difference, difference), axis=1)
            means[part] = np.sqrt(squared).mean(axis=1)
        return means

    def _gaps(self, rows: Rows) -> Iterator[tuple[slice, Floats]]:
        """Squared distances of some members to all, infinite to themselves, in blocks."""
        members, columns = self._placed.shape
        step = max(1, _ENTRIES // (members + self._count * columns))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            gaps = lifted_gaps(self._placed[some], self._placed)
            gaps[np.arange(len(some)), some] = np.inf
            yield slice(start, start + len(some)), gaps

    def bounds(self) -> Floats:
        """What the mean distances (n,) of all members are at least; quick, and not sharp.

        For a distance t, u = min(g, t^2) of each squared distance g. The `count` smallest u of a
        member sum to at least count t^2 - sum(t^2 - u) over all others, which takes a product and
        a sum, and no order. All u lie between a^2, the smallest of the group, and t^2, where the
        root is above its chord: sqrt(u) >= (u + a t) / (a + t). So the mean distance to the nearest
        is known to be at least some length. Which t is taken only makes that sharper or blunter.
        """
        members = len(self._placed)
        some = np.arange(0, members, max(1, members // _SAMPLE))
        gaps = np.concatenate([gaps.reshape(-1) for _, gaps in self._gaps(some)])
        # Half of what members have as neighbours on average is what the densest have as theirs.
        typical = len(some) * self._count // 2
        squared = max(np.partition(gaps, typical)[typical] + self._slack, _TINY)
        sums, most = self._below(squared + self._slack)
        nearest, reach = np.sqrt(max(squared - most, 0)), np.sqrt(squared)
        off = _ROUNDED_UP + members * np.finfo(np.float32).eps
        least = squared - sums * np.float32(off / self._count)
        bounds: Floats = (least + nearest * reach) / (nearest + reach)
        return bounds

    def _below(self, reach: np.float32) -> tuple[Floats, np.float32]:
        """How far squared distances are below `reach`: sums (n,) over others, and the most."""
        members = len(self._placed)
        turned = self._placed * np.float32(2)
        turned[:, -2] = -1
        turned[:, -1] = reach - self._placed[:, -2]
        sums, most = np.zeros(members, np.float32), np.float32(0)
        ones = np.ones(members, np.float32)
        rows, columns = (min(each, members) for each in _TILE)
        room = np.empty(rows * columns, np.float32)
        for top in range(0, members, rows):
            for left in range(top, members, columns):
                upper, lower = turned[top : top + rows], self._placed[left : left + columns]
                tile = room[: len(upper) * len(lower)].reshape(len(upper), len(lower))
                np.matmul(upper, lower.T, out=tile)
                np.maximum(tile, 0, out=tile)
                if left == top:
                    np.fill_diagonal(tile, 0)
                sums[top : top + rows] += tile @ ones[: len(lower)]
                # Pairs of rows of this tile are in the sums of both by now.
                beyond = max(left, top + rows)
                sums[beyond : left + columns] += ones[: len(upper)] @ tile[:, beyond - left :]
                most = max(most, tile.max())
        return sums, most
