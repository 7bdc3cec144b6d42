"""Exact nearest neighbours within a set, without ever looking at all pairs at once.

Points are cut into compact groups. A group meets others from the nearest to the farthest, and not
those of which the triangle inequality says that they hold no neighbour. A matrix product finds the
pairs that may count, whose distances are then computed as the sum of squared differences: the
result does not depend on groups, blocks or the number of processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.blocks import in_blocks
from parfocal_suggestion.distances import middle, squared_norms
from parfocal_suggestion.lloyd import assign, plus_plus
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.seeds import bit_generator, uniform
from parfocal_suggestion.selection import Checkpoint, no_checkpoint
from parfocal_suggestion.shortlist import Shortlists, best

_GROUP = 256
_MET = 2048
_PIVOT_ROWS = 8192


def nearest_neighbours(
    points: Floats, k: int, *, checkpoint: Checkpoint = no_checkpoint
) -> tuple[NDArray[np.int32], Floats]:
    """For each point the k nearest of the set, itself included; equals go by row.

    Args:
        points: (N, d) float32, N > 0.
        k: Neighbours; N where it is more.
        checkpoint: Called once per group.

    Returns:
        Rows (N, k), nearest first, and squared distances (N, k).
    """
    k = min(k, len(points))
    groups = _grouped(points)
    rows = np.empty((len(points), k), np.int32)
    squared = np.empty((len(points), k), np.float32)

    def work(part: slice) -> None:
        members = groups.members(part.start)
        rows[members], squared[members] = _of_group(points, groups, part.start, k)

    for _ in in_blocks(work, len(groups.starts), 1):
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

    def members(self, group: int) -> Rows:
        return self.order[self.starts[group] : self.stops[group]]


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


def _of_group(points: Floats, groups: _Groups, group: int, k: int) -> tuple[Rows, Floats]:
    block = points[groups.members(group)]
    centred = block - groups.origin
    apart = squared_norms(groups.centres - groups.centres[group])
    # The group itself first, also where another has the same centre.
    apart[group] = -1
    others = np.argsort(apart, kind="stable")
    slack = _slack(centred, groups)
    found = Shortlists(k, slack=slack)
    # Distances to the centres are rounded too: a little less than they seem.
    far = np.sqrt(np.maximum(_gaps(centred, groups.centres) - slack[:, None], 0))
    least = far - groups.radii * np.float32(1.001)
    while len(others):
        held = np.cumsum((groups.stops - groups.starts)[others])
        enough = 1 + int(np.searchsorted(held, min(held[-1], max(k, _MET))))
        met = np.concatenate([groups.members(int(each)) for each in others[:enough]])
        gaps = _gaps(centred, points[met] - groups.origin)
        if np.isinf(found.limits[0]):
            found.limits[:] = np.partition(gaps, k - 1, axis=1)[:, k - 1] + 2 * slack
        rows, columns = np.divmod(np.flatnonzero(gaps <= found.limits[:, None]), len(met))
        found.offer(rows, met[columns], gaps[rows, columns])
        others = others[enough:]
        reach = np.sqrt(found.limits + slack)[:, None]
        others = others[np.any(least[:, others] <= reach, axis=0)]
    owners, ids = found.entries()
    return best(owners, ids, squared_norms(block[owners] - points[ids]), k)


def _gaps(points: Floats, others: Floats) -> Floats:
    """Squared distances (N, M), all of the sum in one matrix product."""
    ones = np.ones((len(points), 1), np.float32)
    left = np.hstack([points, ones, squared_norms(points)[:, None]])
    right = np.vstack(
        [others.T * np.float32(-2), squared_norms(others), np.ones(len(others), "f4")]
    )
    gaps: Floats = left @ right
    return gaps


def _slack(centred: Floats, groups: _Groups) -> Floats:
    """How far (n,) rounding can put `_gaps` off, generously."""
    longest = np.square(np.sqrt(squared_norms(groups.centres)) + groups.radii).max()
    unsure = np.float32(4 * (centred.shape[1] + 4) * np.finfo(np.float32).eps)
    slack: Floats = unsure * (squared_norms(centred) + longest)
    return slack
