"""How long there is something to do, whatever happens side by side meanwhile."""

from __future__ import annotations

import threading
import time


class Busy:
    """Adds up the time in which at least one of its blocks (`with`) is being worked on.

    Attributes:
        seconds: The time so far, without that of blocks that are not over.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._blocks = 0
        self._begin = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._begin = time.perf_counter()
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self.seconds += time.perf_counter() - self._begin
