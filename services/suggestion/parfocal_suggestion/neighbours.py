"""Exact nearest neighbours within a set, without ever looking at all pairs at once.

Points are cut into compact groups. A first look at what is around each group limits how far away
its neighbours can be; the triangle inequality then says which groups need not meet. Two groups that
meet do so once, for the points of both: a matrix product finds the pairs that may count, whose
distances are then computed as the sum of squared differences. The result does not depend on groups,
blocks or the number of processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import lifted, lifted_gaps, middle, rounding, squared_norms
from parfocal_suggestion.lloyd import assign, plus_plus
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.seeds import bit_generator, uniform
from parfocal_suggestion.selection import Checkpoint, no_checkpoint
from parfocal_suggestion.shortlist import Shortlists, best

Places: TypeAlias = NDArray[np.int32]

_GROUP = 256
_MET = 2048
_SHELF = 2048
_STRIP = 32
_PAIRS = 4096
_PIVOT_ROWS = 8192


def nearest_neighbours(
    points: Floats, k: int, *, checkpoint: Checkpoint = no_checkpoint
) -> tuple[NDArray[np.int32], Floats]:
    """For each point the k nearest of the set, itself included; equals go by row.

    Args:
        points: (N, d) float32, N > 0.
        k: Neighbours; N where it is more.
        checkpoint: Called a few times per group.

    Returns:
        Rows (N, k), nearest first, and squared distances (N, k).
    """
    k = min(k, len(points))
    search = _Search(points, _grouped(points), k)
    for _ in in_blocks(search.first_look, search.groups, 1):
        checkpoint()
    for pairs in in_blocks(search.meet, search.groups, 1):
        checkpoint()
        search.take(*pairs)
    rows = np.empty((len(points), k), np.int32)
    squared = np.empty((len(points), k), np.float32)

    def settle(part: slice) -> None:
        members, ids, gaps = search.of_shelf(part.start)
        rows[members], squared[members] = ids, gaps

    for _ in in_blocks(settle, search.shelves, 1):
        checkpoint()
    return rows, squared


@dataclass(frozen=True)
class _Groups:
    """Points in compact groups.

    Attributes:
        order: (N,) rows, group by group.
        starts: (G,) where each group begins in `order`.
        stops: (G,) where it ends.
        origin: (d,) a point in the middle of all.
        centres: (G, d) float32, from the origin.
        radii: (G,) float32; no member lies farther from its centre.
    """

    order: Rows
    starts: Rows
    stops: Rows
    origin: Floats
    centres: Floats
    radii: Floats

    def places(self, group: int) -> slice:
        """Where a group lies in `order`."""
        return slice(int(self.starts[group]), int(self.stops[group]))

    def places_of(self, groups: Rows) -> Places:
        """The places of all members of some groups."""
        parts = [np.arange(self.starts[each], self.stops[each]) for each in groups.tolist()]
        return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int32)


def _grouped(points: Floats) -> _Groups:
    origin = middle(points)
    pivots = max(1, len(points) // _GROUP)
    sample = points[:: max(1, len(points) // max(_PIVOT_ROWS, 4 * pivots))] - origin
    drawn = uniform(bit_generator(0, "groups"), (pivots, 2))
    near = assign(points, origin, sample[plus_plus(sample, pivots, drawn)])
    order = np.argsort(near.labels, kind="stable")
    edges = np.concatenate([[0], np.cumsum(near.counts)])
    starts = np.concatenate([np.arange(low, high, _GROUP) for low, high in pairwise(edges)])
    stops = np.append(starts[1:], len(points))
    centres = np.empty((len(starts), points.shape[1]), np.float32)
    radii = np.empty(len(starts), np.float32)
    for group, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        block = points[order[start:stop]] - origin
        centres[group] = block.mean(axis=0)
        radii[group] = np.sqrt(squared_norms(block - centres[group]).max())
    return _Groups(order, starts, stops, origin, centres, radii)


class _Search:
    """Points by place, which is their order in groups, and the limits beyond which none looks.

    A limit is above the distance of the k-th neighbour and only ever falls; so those who read it
    while others lower it find pairs too many, never too few.
    """

    def __init__(self, points: Floats, groups: _Groups, k: int) -> None:
        self._points, self._groups, self._k = points, groups, k
        self._placed = lifted(points[groups.order] - groups.origin)
        self._centres = lifted(groups.centres)
        self._slack = _slack(self._placed, groups)
        self._limits = np.full(len(points), np.inf, np.float32)
        self.groups = len(groups.starts)
        self._wanted = np.zeros((self.groups, self.groups), np.bool_)
        parts = (slice(at, at + _SHELF) for at in range(0, len(points), _SHELF))
        self._lists = [Shortlists(k, self._slack[part], self._limits[part]) for part in parts]
        self.shelves = len(self._lists)

    def first_look(self, part: slice) -> None:
        """Set the limits of a group by the points around it, and see which groups it must meet."""
        groups, own = self._groups, self._groups.places(part.start)
        centred, slack = self._placed[own], self._slack[own]
        apart = squared_norms(groups.centres - groups.centres[part.start])
        # The group itself first, also where another has the same centre.
        apart[part.start] = -1
        nearest = np.argsort(apart, kind="stable")
        held = np.cumsum((groups.stops - groups.starts)[nearest])
        enough = 1 + int(np.searchsorted(held, min(held[-1], max(self._k, _MET))))
        met = np.concatenate([self._placed[groups.places(int(each))] for each in nearest[:enough]])
        gaps = lifted_gaps(centred, met)
        last = np.partition(gaps, self._k - 1, axis=1)[:, self._k - 1]
        self._limits[own] = last + 2 * slack
        # Distances to the centres are rounded too: a little less than they seem.
        far = np.sqrt(np.maximum(lifted_gaps(centred, self._centres) - slack[:, None], 0))
        least = far - groups.radii * np.float32(1.001)
        reach = np.sqrt(self._limits[own] + slack)
        self._wanted[part.start] = np.any(least <= reach[:, None], axis=0)

    def meet(self, part: slice) -> tuple[Places, Places, Floats]:
        """Pairs (owners, others, gaps) of a group's points with themselves and all after them.

        Each pair of two groups is looked at once, for both.
        """
        group = part.start
        places = self._groups.places(group)
        # Those with like limits stand together, so that few pairs pass the limit of a strip only.
        own = (places.start + np.argsort(self._limits[places])).astype(np.int32)
        rows = self._placed[own]
        found = [self._pairs(own, own, lifted_gaps(rows, rows), mutual=False)]
        later = np.arange(group + 1, self.groups)
        later = later[self._wanted[group, later] | self._wanted[later, group]]
        met = self._groups.places_of(later)
        for start in range(0, len(met), _MET):
            some = met[start : start + _MET]
            found.append(self._pairs(own, some, lifted_gaps(rows, self._placed[some]), mutual=True))
        owners, others, gaps = (np.concatenate(each) for each in zip(*found, strict=True))
        return owners, others, gaps

    def _pairs(
        self, own: Places, met: Places, gaps: Floats, *, mutual: bool
    ) -> tuple[Places, Places, Floats]:
        """Which of all pairs (n, m) may count for the one or, where it is mutual, the other."""
        near = np.empty(gaps.shape, np.bool_)
        limits = self._limits[met]
        for start in range(0, len(own), _STRIP):
            strip = slice(start, start + _STRIP)
            bound = self._limits[own[strip]].max()
            if mutual:
                bound = np.maximum(limits, bound)
            np.less_equal(gaps[strip], bound, out=near[strip])
        close = np.flatnonzero(near)
        row = close // len(met)
        left, right = own[row], met[close - row * len(met)]
        gaps = gaps.reshape(-1)[close]
        counts = gaps <= self._limits[left]
        found = left[counts], right[counts], gaps[counts]
        if not mutual:
            return found
        counts = gaps <= self._limits[right]
        return (
            np.concatenate([found[0], right[counts]]),
            np.concatenate([found[1], left[counts]]),
            np.concatenate([found[2], gaps[counts]]),
        )

    def take(self, owners: Places, others: Places, gaps: Floats) -> None:
        """Put pairs on the lists of their owners."""
        order = np.argsort(owners // _SHELF, kind="stable")
        owners, others, gaps = owners[order], others[order], gaps[order]
        edges = np.searchsorted(owners // _SHELF, np.arange(self.shelves + 1))
        for shelf, (start, stop) in enumerate(pairwise(edges.tolist())):
            if start < stop:
                part = slice(start, stop)
                self._lists[shelf].offer(owners[part] % _SHELF, others[part], gaps[part])

    def of_shelf(self, shelf: int) -> tuple[Rows, Rows, Floats]:
        """The points of a shelf (n,), and their neighbours and squared distances (n, k)."""
        members = self._groups.order[shelf * _SHELF : (shelf + 1) * _SHELF]
        owners, others = self._lists[shelf].entries()
        ids = self._groups.order[others]
        exact = np.empty(len(ids), np.float32)
        for start in range(0, len(ids), _PAIRS):
            part = slice(start, start + _PAIRS)
            between = self._points[members[owners[part]]] - self._points[ids[part]]
            exact[part] = squared_norms(between)
        return members, *best(owners, ids, exact, self._k)


def _slack(placed: Floats, groups: _Groups) -> Floats:
    """How far (n,) rounding can put `lifted_gaps` of lifted points off, generously."""
    longest = np.square(np.sqrt(squared_norms(groups.centres)) + groups.radii).max()
    slack: Floats = rounding(placed.shape[1] - 2) * (placed[:, -2] + longest)
    return slack
