"""Choosing under limits: a strategy proposes, the limits pass over, and the strategy goes on.

A strategy knows nothing of limits. It is asked for what is still wanted; its picks are taken in
its order, but for those that break a limit; what can no longer be taken is blocked, which means
that nobody will look at it; and it is asked again for the rest. It ends when the budget is met or
when nothing that is left may be taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.limits import Limit, TimeLimit
from parfocal_suggestion.pool import Mask, Pool, Rows
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, Strategy

_CHUNK = 1024


class Gate:
    """All limits of a selection together, and which of them stands against each candidate.

    Args:
        pool: The candidates, N of them.
        limits: What limits there are; none lets everybody pass.

    Attributes:
        closed_by: (N,) int16, the first limit that was found to refuse it, or -1.
        passed_over: Picks that a strategy or the random draw proposed and that were refused.
    """

    def __init__(self, pool: Pool, limits: Sequence[Limit] = ()) -> None:
        self.limits = tuple(limits)
        self.closed_by: NDArray[np.int16] = np.full(len(pool), -1, np.int16)
        self.passed_over = 0

    def open_part(self, pool: Pool) -> Pool:
        """Return the pool with everything blocked that the limits refuse now."""
        if not self.limits:
            return pool
        free = np.flatnonzero(pool.available)
        return pool.with_blocked(pool.candidates[free[self._close(free)]])

    def room(self, pool: Pool, wanted: int) -> int:
        """How many to ask for: those that are wanted and there, as far as time allows."""
        free = np.flatnonzero(pool.available)
        rooms = [each.room(free) for each in self.limits if isinstance(each, TimeLimit)]
        return min(wanted, len(free), *rooms)

    def take_in_order(self, rows: Rows, count: int) -> NDArray[np.intp]:
        """Take up to `count` of `rows`, passing over those that are refused.

        Returns:
            Places in `rows`, ascending, of those that were taken.
        """
        if not self.limits:
            return np.arange(min(count, len(rows)))
        taken: list[int] = []
        for start in range(0, len(rows), _CHUNK):
            refused = self._close(rows[start : start + _CHUNK])
            for place, row in enumerate(rows[start : start + _CHUNK]):
                if len(taken) == count:
                    return np.array(taken, np.intp)
                if refused[place] or self._close(rows[start + place :][:1])[0]:
                    self.passed_over += 1
                    continue
                for limit in self.limits:
                    limit.take(int(row))
                taken.append(start + place)
        return np.array(taken, np.intp)

    def why(self, row: int) -> str:
        """Say why a candidate cannot be taken; empty where nothing was found against it."""
        closed = self.closed_by[row]
        return self.limits[closed].why(row) if closed >= 0 else ""

    def notes(self, found: int, wanted: int) -> list[str]:
        """Say why fewer than wanted were found: one sentence, and one for each limit."""
        if found >= wanted or not self.limits:
            return []
        stood = [np.count_nonzero(self.closed_by == each) for each in range(len(self.limits))]
        return [
            f"the constraints admit {found} of the {wanted} picks asked for",
            *(
                f"{limit.text}: stands against {count} candidates"
                for limit, count in zip(self.limits, stood, strict=True)
                if count
            ),
        ]

    def _close(self, rows: Rows) -> Mask:
        closed = np.zeros(len(rows), np.bool_)
        for number, limit in enumerate(self.limits):
            refused = limit.refuses(rows) & ~closed
            fresh = rows[refused]
            self.closed_by[fresh[self.closed_by[fresh] < 0]] = number
            closed |= refused
        return closed


def choose(
    pool: Pool, strategy: Strategy, wanted: int, gate: Gate, *, seed: int, checkpoint: Checkpoint
) -> Selection:
    """Choose up to `wanted` candidates that the limits admit, in the order of the strategy.

    The first time the strategy gets `seed`, later ones derived from it: the same random numbers
    for what is left would not be independent of those before.

    Returns:
        The picks; cells, clusters and distances are those of the first time.
    """
    found: list[Selection] = []
    while True:
        pool = gate.open_part(pool)
        asked = gate.room(pool, wanted)
        if found and not asked:
            return Selection.joined(found)
        turn = derived_seed(seed, "asked again", index=len(found)) if found else seed
        proposed = strategy.select(pool, asked, seed=turn, checkpoint=checkpoint)
        taken = gate.take_in_order(pool.rows_of(proposed.candidates), wanted)
        found.append(proposed.only(taken))
        wanted -= len(taken)
        # A strategy with limits of its own may have nothing more to propose.
        if not (wanted and gate.limits and len(proposed.candidates)):
            return Selection.joined(found)
        refused = np.delete(proposed.candidates, taken)
        pool = pool.with_pending(proposed.candidates[taken]).with_blocked(refused)
