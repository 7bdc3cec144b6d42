"""Who may be among the k best of each owner, by keys that rounding has put a little off."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Floats, Rows

Whole: TypeAlias = NDArray[np.integer[Any]]

_SHIFT = np.uint64(32)


class Shortlists:
    """For each owner all entries that may be among those of its k smallest true keys.

    Attributes:
        limits: (owners,) float32; an entry that seems to have a larger key cannot be one of them.
    """

    def __init__(self, k: int, slack: Floats, limits: Floats | None = None) -> None:
        """Start with nothing.

        Args:
            k: Entries wanted of each owner.
            slack: (owners,) float32, how far a key may be off.
            limits: (owners,) float32 that are known already; lowered in place.
        """
        self.limits = np.full(len(slack), np.inf, np.float32) if limits is None else limits
        self._k = k
        self._slack = slack
        self._owners: list[Whole] = []
        self._ids: list[Whole] = []
        self._keys: list[Floats] = []
        self._waiting = 0

    def offer(self, owners: Whole, ids: Whole, keys: Floats) -> None:
        """Let entries come in; all three are of one length."""
        self._owners.append(owners)
        self._ids.append(ids)
        self._keys.append(np.maximum(keys, 0))
        self._waiting += len(keys)
        if self._waiting > 4 * self._k * len(self.limits):
            self._settle()

    def entries(self) -> tuple[Rows, Rows]:
        """Owners and ids of all that may be among the best."""
        self._settle()
        return self._owners[0].astype(np.intp), self._ids[0].astype(np.intp)

    def _settle(self) -> None:
        owners, ids, keys = (np.concatenate(each) for each in (self._owners, self._ids, self._keys))
        # The bits of floats that are not negative are in the order of the floats, and one sort
        # of numbers is much quicker than one by two keys.
        ranked = np.sort(owners.astype(np.uint64) << _SHIFT | keys.view(np.uint32))
        counts = np.bincount(owners, minlength=len(self.limits))
        whole = np.flatnonzero(counts >= self._k)
        last = ranked[(np.cumsum(counts) - counts)[whole] + self._k - 1]
        limits = last.astype(np.uint32).view(np.float32) + 2 * self._slack[whole]
        self.limits[whole] = np.minimum(self.limits[whole], limits)
        kept = keys <= self.limits[owners]
        self._owners, self._ids, self._keys = [owners[kept]], [ids[kept]], [keys[kept]]
        self._waiting = 0


def best(owners: Rows, ids: Rows, keys: Floats, k: int) -> tuple[Rows, Floats]:
    """Ids and keys (owners, k) of the smallest keys, equal keys by id.

    Args:
        owners: (E,) the owner of each entry; each owner from 0 on has at least k.
        ids: (E,) what is ranked.
        keys: (E,) float32, exact.
        k: Entries wanted of each owner.
    """
    ranked = owners.astype(np.uint64) << _SHIFT | _ordered_bits(keys)
    order = np.argsort(ranked)
    ranked = ranked[order]
    tied = ranked[1:] == ranked[:-1]
    if np.any(tied):
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        equals = order[places]
        order[places] = equals[np.lexsort((ids[equals], ranked[places]))]
    counts = np.bincount(owners)
    order = order[(np.cumsum(counts) - counts)[:, None] + np.arange(k)]
    return ids[order], keys[order]


def _ordered_bits(keys: Floats) -> NDArray[np.uint32]:
    """Whole numbers in the order of floats, of which none is NaN; 0 and -0 are equal."""
    bits = (keys + np.float32(0)).view(np.uint32)
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
