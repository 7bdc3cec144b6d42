"""Work that goes on side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Do two works at once, each in a thread, and return their results.

    Where one fails or the wait is interrupted, the other is left to itself; it ends when the
    connections that it uses are closed.

    Raises:
        BaseException: What the work that failed raised.
    """
    threads = ThreadPoolExecutor(max_workers=2)
    one, other = threads.submit(first), threads.submit(second)
    threads.shutdown(wait=False)
    both: tuple[Future[Any], ...] = (one, other)
    for work in wait(both, return_when=FIRST_EXCEPTION).done:
        work.result()
    return one.result(), other.result()
