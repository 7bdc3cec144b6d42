"""One thread for the linear algebra of a selection, so that sums are always in one order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

# The limit is process-wide: a second selection that ends first would lift the first one's.
_LOCK = threading.Lock()


@contextmanager
def single_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread; one caller at a time in a process."""
    with _LOCK, _controller().limit(limits=1):
        yield


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes milliseconds; those that matter are loaded by now.
    return ThreadpoolController()
