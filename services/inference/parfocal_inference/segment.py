"""Probability maps, block by block: the result does not depend on the blocks.

A block is the blend of exactly those windows of the image's grid that touch it. Each voxel adds
up its windows in the order of the grid, whatever block it lies in, so maps made with different
blocks are equal bit for bit.

While the model is at one run, or at several side by side, the pixels of the next row of windows are
read, the next run is cut out, and the one before is blended; so the model hardly ever waits. Memory
holds one row of windows and does not grow with the depth of the block (`memory.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

from parfocal_inference.blending import Blend
from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.reading import Read
from parfocal_inference.reading_ahead import rows_ahead
from parfocal_inference.waiting import Waiting
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.box import Box, Triple

Pixels = npt.NDArray[np.uint8]
Probability = npt.NDArray[np.float32]
Predict = Callable[[Pixels], Probability]
"""Takes windows (N, 1, Z, Y, X) and returns finite probabilities of the same shape."""
IsEmpty = Callable[[Pixels], bool]
"""Takes the pixels (Z, Y, X) of a window and says that nothing can be there."""


@dataclass
class Tally:
    """What a block has cost so far.

    Attributes:
        windows: Windows that the model ran on.
        skipped: Windows that are empty, which it did not run on.
        waiting: For pixels that were not read yet, and maps that were not written yet.
    """

    windows: int = 0
    skipped: int = 0
    waiting: Waiting = field(default_factory=Waiting)


@dataclass(frozen=True)
class _Window:
    """A window in a run of the model.

    Attributes:
        start: Where it starts.
        place: Its place in the run; None if it is empty, and has none.
        stop: If it is the last of its row, the first section that later windows touch.
    """

    start: Triple
    place: int | None
    stop: int | None


@dataclass
class _Run:
    """Windows in one run of the model.

    Attributes:
        pixels: (N, 1, Z, Y, X); None where all windows are empty.
        windows: In the order of the grid.
    """

    pixels: Pixels | None = None
    windows: list[_Window] = field(default_factory=list)


def segment_block(
    read: Read,
    predict: Predict,
    *,
    grid: WindowGrid,
    box: Box,
    batch: int = 1,
    at_once: int = 1,
    chunk: int = 1,
    is_empty: IsEmpty | None = None,
    cancel: Cancellation = UNCANCELLED,
) -> Pixels:
    """Return the whole probability map of `box`; the arguments are those of `segment_sections`."""
    return np.concatenate(
        list(
            segment_sections(
                read,
                predict,
                grid=grid,
                box=box,
                batch=batch,
                at_once=at_once,
                chunk=chunk,
                is_empty=is_empty,
                cancel=cancel,
            )
        )
    )


def segment_sections(
    read: Read,
    predict: Predict,
    *,
    grid: WindowGrid,
    box: Box,
    batch: int = 1,
    at_once: int = 1,
    chunk: int = 1,
    is_empty: IsEmpty | None = None,
    cancel: Cancellation = UNCANCELLED,
    tally: Tally | None = None,
) -> Generator[Pixels, None, None]:
    """Yield the probability map of `box` from its first section on, as `floor(255 p)`, uint8.

    Windows overlap and are blended with Gaussian weights (`blend_weight`). What a window sees
    outside the image is the image reflected at its border.

    Args:
        read: Reads the image; asked from another thread, for the sections of a row of windows.
        predict: Runs the model; called from other threads, as many calls at a time as `at_once`.
        grid: Windows of the image.
        box: What to predict; must lie inside the image.
        batch: Windows in one call of `predict`, of one row or of two. The last batch is filled up
            with empty windows, so that a model always sees the same shape. With more than one,
            equality across blocks holds as far as the model's result for a window does not depend
            on its neighbours.
        at_once: Calls of `predict` at a time.
        chunk: Sections in a chunk of the image; reading keeps to them.
        is_empty: Windows of which it says so have the probability 0, and the model does not run
            on them.
        cancel: Asked before each call of `predict`, from the thread that makes it.
        tally: Counts what it costs.
    """
    tally = tally or Tally()
    z_starts, y_starts, x_starts = grid.touching(box)
    columns = list(product(y_starts, x_starts))
    blend = Blend(box, grid.window)
    with _threads(1) as reader, _threads(at_once) as runners:
        rows = rows_ahead(
            read,
            grid.hull(box),
            z_starts,
            depth=grid.window[0],
            shape=grid.shape,
            chunk=chunk,
            executor=reader,
            waiting=tally.waiting,
        )
        cutter = _Cutter(grid.hull(box).start[1:], columns, grid.window, batch, is_empty)
        stops = [stop for _, stop in pairwise((*z_starts, box.stop[0]))]
        runs = cutter.runs(zip(z_starts, stops, rows, strict=True))
        ahead = _ahead(runs, predict, runners, cancel, runs=_submitted(at_once))
        for run, probability in ahead:
            for window in run.windows:
                if window.place is None or probability is None:
                    blend.add(window.start, None)
                    tally.skipped += 1
                else:
                    blend.add(window.start, probability[window.place, 0])
                    tally.windows += 1
                if window.stop is not None:
                    yield blend.finished(window.stop)


@dataclass(frozen=True)
class _Cutter:
    """Cuts rows of windows into runs of the model; a run may end one row and begin the next."""

    origin: Sequence[int]
    columns: Sequence[tuple[int, int]]
    window: Triple
    batch: int
    is_empty: IsEmpty | None

    def runs(self, rows: Iterable[tuple[int, int, Pixels]]) -> Iterator[_Run]:
        """Yield the runs for rows, each with its first section, its `stop` and what it sees."""
        run, count = _Run(), 0
        for z, stop, pixels in rows:
            for y, x in self.columns:
                is_last = (y, x) == self.columns[-1]
                seen = self._seen(pixels, y, x)
                place = None
                if self.is_empty is None or not self.is_empty(seen):
                    if run.pixels is None:
                        run.pixels = np.zeros((self.batch, 1, *self.window), np.uint8)
                    run.pixels[count, 0] = seen
                    place, count = count, count + 1
                run.windows.append(_Window((z, y, x), place, stop if is_last else None))
                # What holds no pixels need not wait for those of the next row.
                if count == self.batch or (is_last and run.pixels is None):
                    yield run
                    run, count = _Run(), 0
        if run.windows:
            yield run

    def _seen(self, pixels: Pixels, y: int, x: int) -> Pixels:
        (top, left), (_, height, width) = self.origin, self.window
        return pixels[:, y - top : y - top + height, x - left : x - left + width]


def runs_in_memory(at_once: int) -> int:
    """Return how many runs of the model a block holds: with the model, one cut out, one blended."""
    return _submitted(at_once) + 2


def _submitted(at_once: int) -> int:
    """Return how many runs are with the model while others are cut out and blended.

    Of runs side by side one is over at any time, and the next one must be there then.
    """
    return at_once if at_once == 1 else at_once + 1


def _ahead(
    cut: Iterator[_Run], predict: Predict, runners: Executor, cancel: Cancellation, *, runs: int
) -> Iterator[tuple[_Run, Probability | None]]:
    """Yield each run with what the model says; so many further ones are with the model by then."""

    def unless_cancelled(pixels: Pixels) -> Probability:
        cancel.check()
        return predict(pixels)

    submitted: deque[tuple[_Run, Future[Probability] | None]] = deque()
    for run in cut:
        if run.pixels is None:
            cancel.check()
            submitted.append((run, None))
        else:
            submitted.append((run, runners.submit(unless_cancelled, run.pixels)))
        if len(submitted) > runs:
            yield _answered(*submitted.popleft())
    while submitted:
        yield _answered(*submitted.popleft())


def _answered(run: _Run, future: Future[Probability] | None) -> tuple[_Run, Probability | None]:
    return run, None if future is None else future.result()


@contextmanager
def _threads(count: int) -> Iterator[Executor]:
    """So many threads; what they have not begun is dropped at the end."""
    executor = ThreadPoolExecutor(count, thread_name_prefix="segment")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
