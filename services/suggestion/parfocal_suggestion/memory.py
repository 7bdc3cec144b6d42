"""What the service remembers between selections: feature arrays, and how far all is from labels.

Nothing here can change a selection: an array is read anew when one of its objects was written
again, its hash is the hash of what is held, and distances are those that would be computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.intp]


@dataclass
class _Held:
    """A feature array and what was found out about it.

    Attributes:
        features: (N, d) float32, not to be written to.
        checked: Whether somebody found all numbers usable.
        sha256: Hash of the array as an input; empty until somebody computed it.
        labelled: (L,) rows, ascending, that `squared` knows of.
        squared: (N,) float32 squared distances to the nearest of those; None without any.
    """

    features: Floats
    checked: bool = False
    sha256: str = ""
    labelled: Rows = field(default_factory=lambda: np.empty(0, np.intp))
    squared: Floats | None = None

    @property
    def size(self) -> int:
        return self.features.nbytes + 4 * len(self.features)


class Memory:
    """Feature arrays by where they came from, the least recently used forgotten first.

    Args:
        most_bytes: Bytes that may be held; 0 holds nothing.
    """

    def __init__(self, most_bytes: int = 0) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._lock = Lock()

    def features(self, source: Hashable, read: Callable[[], Floats]) -> Floats:
        """Return the array of a source, as held or as it is read now.

        Args:
            source: Says where the array lies and which content it has there.
            read: Reads it.
        """
        with self._lock:
            if source in self._held:
                self._held.move_to_end(source)
                return self._held[source].features
        held = _Held(read())
        with self._lock:
            if held.size <= self._most_bytes:
                held.features.setflags(write=False)
                self._held[source] = held
            while sum(each.size for each in self._held.values()) > self._most_bytes:
                self._held.popitem(last=False)
        return held.features

    def check_once(self, array: NDArray[np.generic], check: Callable[[], None]) -> None:
        """Check an array, unless it is held and passed the check before."""
        held = self._of(array)
        if held is None or not held.checked:
            check()
        if held is not None:
            held.checked = True

    def sha256(self, array: NDArray[np.generic], compute: Callable[[], str]) -> str:
        """Return the hash of an array, computed once where the array is one that is held."""
        held = self._of(array)
        if held is None:
            return compute()
        held.sha256 = held.sha256 or compute()
        return held.sha256

    def distances(self, features: Floats) -> tuple[Rows, Floats] | None:
        """Rows (L,) and squared distances (N,) to the nearest of them, as last remembered."""
        held = self._of(features)
        return None if held is None or held.squared is None else (held.labelled, held.squared)

    def remember(self, features: Floats, labelled: Rows, squared: Floats) -> None:
        """Remember distances, if the features are held; nobody may write to them any more."""
        held = self._of(features)
        if held is not None:
            squared.setflags(write=False)
            held.labelled, held.squared = labelled, squared

    def _of(self, array: NDArray[np.generic]) -> _Held | None:
        with self._lock:
            return next(
                (
                    held
                    for held in self._held.values()
                    # The same memory in the same shape: a pool has a view of what is held.
                    if held.features.ctypes.data == array.ctypes.data
                    and held.features.shape == array.shape
                    and held.features.strides == array.strides
                ),
                None,
            )
