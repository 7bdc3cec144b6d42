"""Gathering what waits: requests that come while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from parfocal_runtime.errors import Unavailable

A = TypeVar("A")
R = TypeVar("R")

Batch = Callable[[str, Sequence[A]], Awaitable[Iterable[R | Exception]]]


# So many share the cost of a transaction; with fewer, those who ask in the same moment are waited
# for: callers who were answered together ask again one after the other.
_WORTH_IT = 4


class Coalescer(Generic[A, R]):
    """Runs requests of the same key together, one batch after the other.

    Nobody waits for time to pass: a request that finds nothing running, and nobody else who asks
    in the same turn of the event loop, goes alone.
    """

    def __init__(self, batch: Batch[A, R], *, weigh: Callable[[A], int], heaviest: int) -> None:
        """Prepare.

        Args:
            batch: Runs requests of one key, all in one transaction, and gives for each what
                it comes to, or why it is refused. If it raises anything but `Unavailable`, the
                requests run one by one, so that one of them cannot spoil the others. A list is
                given out at once; anything else is read one by one while the next batch is under
                way.
            weigh: What a request adds to a batch.
            heaviest: Where a batch is full; one request alone may weigh more.
        """
        self._batch = batch
        self._weigh = weigh
        self._heaviest = heaviest
        self._waiting: defaultdict[str, deque[tuple[A, asyncio.Future[R]]]] = defaultdict(deque)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._giving: set[asyncio.Task[None]] = set()

    async def ask(self, key: str, request: A) -> R:
        """Return what `request` comes to.

        Whoever is cancelled while they wait is left out; a batch that has begun runs to its end.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting[key].append((request, future))
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._drain(key))
        return await future

    async def _drain(self, key: str) -> None:
        try:
            while taken := await self._gathered(self._waiting[key]):
                await self._answer(key, taken)
        finally:
            del self._waiting[key], self._running[key]

    async def _gathered(
        self, waiting: deque[tuple[A, asyncio.Future[R]]]
    ) -> list[tuple[A, asyncio.Future[R]]]:
        """Return the next batch: what waits, once it is many or no more comes."""
        before = 0
        while before < len(waiting) < _WORTH_IT:
            before = len(waiting)
            await asyncio.sleep(0)
        return self._take(waiting)

    def _take(
        self, waiting: deque[tuple[A, asyncio.Future[R]]]
    ) -> list[tuple[A, asyncio.Future[R]]]:
        taken: list[tuple[A, asyncio.Future[R]]] = []
        weight = 0
        while waiting and (not taken or weight + self._weigh(waiting[0][0]) <= self._heaviest):
            request, future = waiting.popleft()
            if not future.done():
                taken.append((request, future))
                weight += self._weigh(request)
        return taken

    async def _answer(self, key: str, taken: list[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._batch(key, [request for request, _ in taken])
        except Exception as error:
            # What is away is away for all of them, and each would wait for it as long again.
            if len(taken) == 1 or isinstance(error, Unavailable):
                for _, future in taken:
                    _settle(future, error)
                return
            for one in taken:
                await self._answer(key, [one])
            return
        giving = asyncio.create_task(_give(taken, answers))
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)


async def _give(
    taken: Sequence[tuple[A, asyncio.Future[R]]], answers: Iterable[R | Exception]
) -> None:
    try:
        for (_, future), answer in zip(taken, answers, strict=True):
            _settle(future, answer)
            if not isinstance(answers, list):
                # Between two of them the database gets its next statements.
                await asyncio.sleep(0)
    except Exception as error:
        for _, future in taken:
            _settle(future, error)


def _settle(future: asyncio.Future[R], answer: R | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
