"""Blocking work beside the event loop, and how it hears that nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

from parfocal_runtime.errors import Cancelled

P = ParamSpec("P")
T = TypeVar("T")


class CancelFlag:
    """Tells work in a thread to stop; the work asks between two pieces, such as tiles."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the work should stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            Cancelled: If it should stop (`ERROR_REASON_CANCELLED`).
        """
        if self._event.is_set():
            raise Cancelled("ERROR_REASON_CANCELLED", "the caller went away")

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds` or until asked to stop; return whether asked."""
        return self._event.wait(seconds)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread and return what it returns.

    The work sees the context variables of the caller. Every `CancelFlag` among the arguments is
    set when the awaiting request is cancelled, runs past its deadline, or the server's grace time
    ends; work that never asks its flag runs to its end in the background.

        cancel = CancelFlag()
        await in_thread(segment, volume, box, cancel=cancel)
    """
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except asyncio.CancelledError:
        for flag in _flags(args, kwargs):
            flag.set()
        raise


class Places:
    """So many pieces of blocking work at a time; others wait for a place.

    A place is free again when its work has ended, also where nobody waits for the work any more:
    until it asks its flag it computes and holds memory.

        blocks = Places(2)
        await blocks.in_thread(segment, volume, box, cancel=cancel)
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work as `parfocal_runtime.tasks.in_thread` does, once there is a place."""
        flags = _flags(args, kwargs)

        def unless_cancelled() -> T:
            for flag in flags:
                flag.check()
            return function(*args, **kwargs)

        await self._free.acquire()
        work = asyncio.ensure_future(asyncio.to_thread(unless_cancelled))
        work.add_done_callback(lambda _: self._free.release())
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            for flag in flags:
                flag.set()
            raise


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end, also when the caller is cancelled; the cancellation comes after.

    For short work that must not stop half-way.
    """
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and task.exception() is None:
        raise cancelled
    return task.result()


def _flags(args: tuple[object, ...], kwargs: Mapping[str, object]) -> list[CancelFlag]:
    return [value for value in (*args, *kwargs.values()) if isinstance(value, CancelFlag)]
