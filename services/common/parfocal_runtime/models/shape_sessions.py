"""A session for each shape of a graph's inputs, on a device that makes plans for shapes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import onnxruntime as ort

from parfocal_runtime.models.datatypes import Array

MOST_SHAPES = 16
"""How many shapes of its inputs a graph is kept ready for."""

_Key = tuple[tuple[str, str, tuple[int, ...]], ...]
_Found = TypeVar("_Found")


@dataclass
class _Shelf:
    """What there is for one shape: its session, once there is one."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    session: ort.InferenceSession | None = None


class ShapeSessions:
    """Runs a graph with a session of its own for each shape of the inputs.

    cuDNN's plans are kept for the last shape alone, and made anew in a session that sees another
    one: that takes longer than hundreds of runs. So each shape has its session, made when it is
    first met; those used last are kept, and what the others took on the device is given back.

    Safe from many threads: runs of one shape share its session.

    Args:
        first: The session of the shape that is met first.
        opened: Makes one for each shape after it.
        most_shapes: How many shapes are kept.
    """

    def __init__(
        self,
        first: ort.InferenceSession,
        opened: Callable[[], ort.InferenceSession],
        *,
        most_shapes: int = MOST_SHAPES,
    ) -> None:
        self._spare: list[ort.InferenceSession] = [first]
        self._opened = opened
        self._most_shapes = most_shapes
        self._lock = threading.Lock()
        self._shelves: OrderedDict[_Key, _Shelf] = OrderedDict()

    @property
    def shapes(self) -> int:
        """For how many shapes of the inputs there are sessions."""
        return len(self._shelves)

    def run(
        self, feed: Mapping[str, Array], run: Callable[[ort.InferenceSession], Sequence[_Found]]
    ) -> list[_Found]:
        """Return what `run` makes of the session for the shapes of the arrays in `feed`."""
        key = tuple((name, array.dtype.str, array.shape) for name, array in feed.items())
        try:
            return list(run(self._session(self._shelf(key))))
        except Exception:
            # What failed may hold memory that others need, and a shape that cannot run needs none.
            with self._lock:
                self._shelves.pop(key, None)
            raise

    def _shelf(self, key: _Key) -> _Shelf:
        with self._lock:
            shelf = self._shelves.setdefault(key, _Shelf())
            self._shelves.move_to_end(key)
            if len(self._shelves) > self._most_shapes:
                self._shelves.popitem(last=False)
        return shelf

    def _session(self, shelf: _Shelf) -> ort.InferenceSession:
        with shelf.lock:
            if shelf.session is None:
                with self._lock:
                    spare = self._spare.pop() if self._spare else None
                shelf.session = spare or self._opened()
            return shelf.session
