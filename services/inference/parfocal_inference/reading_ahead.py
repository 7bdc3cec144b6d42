"""The pixels under each row of windows, read while the row before is being worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from parfocal_inference.reading import Read, read_padded
from parfocal_inference.waiting import Waiting
from parfocal_runtime.box import Box, Triple


def rows_ahead(
    read: Read,
    hull: Box,
    starts: Sequence[int],
    *,
    depth: int,
    shape: Triple,
    chunk: int,
    executor: Executor,
    waiting: Waiting,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels (depth, y, x) that the windows starting at each of `starts` see.

    Every section is read once, and where it may be in whole chunks, so that none is decoded twice.
    What lies outside the image is the image reflected at its border.

    Args:
        read: Reads the image; asked in the background.
        hull: All that the windows see.
        starts: First sections of the rows, ascending.
        depth: Sections that a window sees.
        shape: Of the image.
        chunk: Sections in a chunk of the image.
        executor: Where to read; one row ahead.
        waiting: Counts the time in which the pixels were not there yet.
    """
    (_, *low), (_, *high) = hull.start, hull.stop
    nothing = np.empty((0, *hull.shape[1:]), np.uint8)

    def fetch(piece: tuple[int, int]) -> npt.NDArray[np.uint8]:
        start, stop = piece
        if start == stop:
            return nothing
        box = Box((start, low[0], low[1]), (stop, high[0], high[1]))
        return read_padded(read, box, shape=shape, mode="reflect")

    pieces = _pieces(hull, starts, depth, chunk)
    held, first = nothing, starts[0]
    ahead = executor.submit(fetch, pieces[0])
    for start, after in zip(starts, (*pieces[1:], None), strict=True):
        piece = waiting.result(ahead)
        if after is not None:
            ahead = executor.submit(fetch, after)
        held = np.concatenate([held[start - first :], piece])
        first = start
        yield held[:depth]


def _pieces(hull: Box, starts: Sequence[int], depth: int, chunk: int) -> list[tuple[int, int]]:
    """Return the sections, from and to, to read for each row; none where they are there already."""
    pieces, read = [], hull.start[0]
    for start in starts:
        needed = start + depth
        stop = max(read, min(needed + -needed % chunk, hull.stop[0]))
        pieces.append((read, stop))
        read = stop
    return pieces
