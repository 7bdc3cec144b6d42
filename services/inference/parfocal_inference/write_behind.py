"""Sections of a map, written in whole chunks while later ones are being made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future

import numpy as np
import numpy.typing as npt

from parfocal_inference.waiting import Waiting
from parfocal_runtime.box import Box

Write = Callable[[Box, npt.NDArray[np.uint8]], None]
"""Writes the voxels (z, y, x) of a box of whole chunks."""


class WriteBehind:
    """Takes the sections of a box in order and writes them in the background.

    At most one piece is being written; the next one waits for it, which bounds memory.

    Args:
        write: Writes a piece; called from another thread.
        box: All that is written; starts with a chunk.
        chunk: Sections in a chunk.
        executor: Where to write.
        waiting: Counts the time in which a piece had to wait for the one before.
    """

    def __init__(
        self, write: Write, box: Box, *, chunk: int, executor: Executor, waiting: Waiting
    ) -> None:
        self._write = write
        self._box = box
        self._chunk = chunk
        self._executor = executor
        self._waiting = waiting
        self._next = box.start[0]
        self._held: list[npt.NDArray[np.uint8]] = []
        self._writing: Future[None] | None = None

    def add(self, sections: npt.NDArray[np.uint8]) -> None:
        """Take the next sections (z, y, x), and write what fills chunks.

        Raises:
            DomainError: What writing an earlier piece raised.
        """
        self._held.append(sections)
        stop = self._next + sum(map(len, self._held))
        whole = stop if stop == self._box.stop[0] else stop - stop % self._chunk
        if whole > self._next:
            self._begin(whole)

    def finish(self) -> None:
        """Return when all is written.

        Raises:
            DomainError: What writing a piece raised.
        """
        if self._writing is not None:
            self._waiting.result(self._writing)
            self._writing = None

    def _begin(self, stop: int) -> None:
        self.finish()
        held = np.concatenate(self._held)
        count = stop - self._next
        (_, *low), (_, *high) = self._box.start, self._box.stop
        piece = Box((self._next, low[0], low[1]), (stop, high[0], high[1]))
        self._writing = self._executor.submit(self._write, piece, held[:count])
        self._held = [held[count:]]
        self._next = stop
