"""Work on blocks of rows, by all processors, with the same result for any number of them.

The blocks are the same whoever works on them, and their results come back in order; so long as
nothing but order could tell, a replay on another number of processors is identical.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import local
from typing import TypeVar

from parfocal_runtime.quota import cpu_threads

Result = TypeVar("Result")


def in_blocks(
    work: Callable[[slice], Result], rows: int, step: int
) -> Generator[Result, None, None]:
    """Yield `work` of each block of `step` rows, in order; numpy lets other threads run.

    Args:
        work: Called with the rows of a block, from any thread.
        rows: Rows in all.
        step: Rows of a block; the last may be shorter.
    """
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    if len(parts) == 1 or threads() == 1 or getattr(_here, "in_a_block", False):
        yield from map(work, parts)
        return
    # A few blocks ahead of the one that is wanted, not all of their results at once.
    ahead = 2 * threads()
    waiting = [_pool().submit(work, part) for part in parts[:ahead]]
    try:
        for number in range(len(parts)):
            yield waiting.pop(0).result()
            if number + ahead < len(parts):
                waiting.append(_pool().submit(work, parts[number + ahead]))
    finally:
        # Nobody who gave up finds threads at work on what was theirs.
        for block in waiting:
            block.cancel()
        wait(waiting)


_here = local()
"""What a thread knows of itself: blocks within a block are worked on where they come up."""


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that stay: starting them takes as long as a small block."""

    def begin() -> None:
        _here.in_a_block = True

    return ThreadPoolExecutor(threads(), "blocks", initializer=begin)


os.register_at_fork(after_in_child=_pool.cache_clear)  # Threads do not come along.


@cache
def threads() -> int:
    """Return how many threads can run at once; the files that tell are read once."""
    return cpu_threads()
