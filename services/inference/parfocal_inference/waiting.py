"""How long work stands still for the object store."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Waiting:
    """Adds up the time in which nothing was done but waiting.

    Attributes:
        seconds: The time so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def result(self, future: Future[T]) -> T:
        """Return the result of reading or writing in the background, and count the wait."""
        begin = time.perf_counter()
        try:
            return future.result()
        finally:
            self.seconds += time.perf_counter() - begin
