"""k-centre greedy: again and again the point farthest from all centres, without looking at most.

A distance that lacks the last centres is an upper bound. Points are sorted by distance once and cut
into blocks; only the block with the largest bound is brought up to date, with all the centres that
it lacks in one matrix product. Picks and radii are those of the plain method, which lowers every
distance after every pick.
"""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.distances import lower, middle, squared_norms
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.selection import Checkpoint, no_checkpoint

_BLOCK = 1024
_ROWS = 65536


def k_centre_greedy(
    points: Floats, centres: Floats, count: int, *, checkpoint: Checkpoint = no_checkpoint
) -> tuple[Rows, Floats]:
    """Choose `count` points, each the farthest from all centres so far, the first of equals.

    Args:
        points: (N, d) float32.
        centres: (M, d) float32 that are there from the start; may be empty.
        count: Picks, at most N.
        checkpoint: Called once per pick.

    Returns:
        Rows (count,) in the order of the picks, and the distance (count,) of each to its nearest
        centre when it was picked; NaN for a first pick without centres.
    """
    squared = np.full(len(points), np.inf, np.float32)
    if count:
        lower(squared, points, centres, origin=middle(points))
    return farthest_first(points, squared, count, checkpoint=checkpoint)


def farthest_first(
    points: Floats,
    squared: Floats,
    count: int,
    *,
    lacking: Floats | None = None,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[Rows, Floats]:
    """Choose as `k_centre_greedy` does, from distances that are known already.

    Args:
        points: (N, d) float32.
        squared: (N,) float32 squared distances to the centres, infinite where there is no centre
            and -1 where a point may not be chosen. Not changed.
        count: Picks, at most as many as may be chosen.
        lacking: (M, d) float32 further centres that `squared` does not know of yet.
        checkpoint: Called once per pick.
    """
    rows, radii = np.empty(count, np.intp), np.empty(count, np.float32)
    if not count:
        return rows, radii
    centres = np.empty((0, points.shape[1]), np.float32) if lacking is None else lacking
    start = 0
    if not len(centres) and np.isinf(squared.max()):
        rows[0], radii[0], start = _nearest_to_mean(points, squared), np.nan, 1
        squared = squared.copy()
        lower(squared, points, points[rows[:1]], origin=middle(points))
        squared[rows[0]] = -1
    blocks = _Blocks(points, squared, centres, most=len(centres) + count)
    for pick in range(start, count):
        checkpoint()
        rows[pick], radii[pick] = blocks.take_farthest()
    return rows, radii


class _Blocks:
    """Points sorted by distance in blocks, each with the largest distance that it may hold."""

    def __init__(self, points: Floats, squared: Floats, centres: Floats, *, most: int) -> None:
        self._points = points
        # Of equals the lowest row is found when one is taken.
        self._order = np.argsort(-squared)
        self._squared = squared[self._order]
        self._bounds = np.maximum.reduceat(self._squared, np.arange(0, len(points), _BLOCK))
        self._seen = np.zeros(len(self._bounds), np.intp)
        self._centres = np.empty((most, points.shape[1]), np.float32)
        self._centres[: len(centres)] = centres
        self._count = len(centres)
        self._origin = middle(points)

    def take_farthest(self) -> tuple[int, np.float32]:
        """Return the row of the farthest point and its distance, and make it a centre."""
        while True:
            farthest = self._bounds.max()
            level = np.flatnonzero(self._bounds == farthest)
            late = level[self._seen[level] < self._count] if farthest > 0 else level[:0]
            if not len(late):
                break
            self._bring_up_to_date(int(late[0]))
        places = np.concatenate([self._places_at(int(block), farthest) for block in level])
        place = int(places[np.argmin(self._order[places])])
        self._take(place)
        return int(self._order[place]), np.sqrt(farthest)

    def _bring_up_to_date(self, block: int) -> None:
        part = slice(block * _BLOCK, (block + 1) * _BLOCK)
        lower(
            self._squared[part],
            self._points[self._order[part]],
            self._centres[self._seen[block] : self._count],
            origin=self._origin,
        )
        self._bounds[block] = self._squared[part].max()
        self._seen[block] = self._count

    def _places_at(self, block: int, distance: np.float32) -> Rows:
        start = block * _BLOCK
        return start + np.flatnonzero(self._squared[start : start + _BLOCK] == distance)

    def _take(self, place: int) -> None:
        block = place // _BLOCK
        self._squared[place] = -1
        self._bounds[block] = self._squared[block * _BLOCK : (block + 1) * _BLOCK].max()
        self._centres[self._count] = self._points[self._order[place]]
        self._count += 1


def _nearest_to_mean(points: Floats, squared: Floats) -> int:
    mean = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    gaps = np.empty(len(points), np.float32)
    for start in range(0, len(points), _ROWS):
        gaps[start : start + _ROWS] = squared_norms(points[start : start + _ROWS] - mean)
    gaps[squared < 0] = np.inf
    return int(np.argmin(gaps))
