"""Streams of requests that are answered side by side and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


async def answered_in_order(
    requests: AsyncIterator[Q], answer: Callable[[Q], Coroutine[Any, Any, A]], *, at_once: int
) -> AsyncGenerator[A, None]:
    """Yield the answer to each request, in the order of the requests.

    What fails ends the stream, after the answers to all earlier requests. Nothing goes on working
    when the generator is closed.

    Args:
        requests: The requests.
        answer: Answers one; runs for several at a time.
        at_once: Most requests that are read and not answered yet.
    """
    begun: asyncio.Queue[asyncio.Future[A] | None] = asyncio.Queue()
    room = asyncio.Semaphore(at_once)
    reader = asyncio.create_task(_read(requests, answer, begun=begun, room=room))
    try:
        while (answered := await begun.get()) is not None:
            yield await answered
            room.release()
    finally:
        await _cancelled([reader])
        await _cancelled([begun.get_nowait() for _ in range(begun.qsize())])


async def _read(
    requests: AsyncIterator[Q],
    answer: Callable[[Q], Coroutine[Any, Any, A]],
    *,
    begun: asyncio.Queue[asyncio.Future[A] | None],
    room: asyncio.Semaphore,
) -> None:
    await room.acquire()
    try:
        async for request in requests:
            # Begun here, so that it acts for the caller whom reading the request found.
            begun.put_nowait(asyncio.create_task(answer(request)))
            await room.acquire()
    except Exception as error:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        begun.put_nowait(failed)
    begun.put_nowait(None)


async def _cancelled(work: list[asyncio.Future[Any] | None]) -> None:
    futures = [each for each in work if each is not None]
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
