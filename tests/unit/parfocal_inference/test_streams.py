from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import pytest

from parfocal_inference.streams import answered_in_order

SECONDS = 30.0


async def coming(numbers: Iterable[int], failure: Exception | None = None) -> AsyncIterator[int]:
    for number in numbers:
        await asyncio.sleep(0)
        yield number
    if failure is not None:
        raise failure


class Answering:
    """Answers numbers with themselves, each when it is let go, and knows how many it works on."""

    def __init__(self, *numbers: int) -> None:
        self.let_go = {number: asyncio.Event() for number in numbers}
        self.working = 0
        self.most = 0
        self.cancelled = 0

    async def answer(self, number: int) -> int:
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            if number in self.let_go:
                await self.let_go[number].wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1
        return number


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def collect(answers: AsyncGenerator[int, None], found: list[int]) -> None:
    async with aclosing(answers):
        async for number in answers:
            found.append(number)
            await settled()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, SECONDS))


def test_answers_keep_the_order_of_the_requests_whichever_is_ready_first() -> None:
    async def scenario() -> None:
        answering = Answering(0)
        answers = answered_in_order(coming(range(4)), answering.answer, at_once=8)
        first = asyncio.ensure_future(anext(answers))
        await settled()
        assert not first.done()
        assert answering.working == 1

        answering.let_go[0].set()

        assert [await first, *[number async for number in answers]] == [0, 1, 2, 3]

    run(scenario())


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_no_more_are_read_than_may_be_in_work(at_once: int) -> None:
    async def scenario() -> None:
        answering = Answering(0)
        read = 0

        async def counted() -> AsyncIterator[int]:
            nonlocal read
            async for number in coming(range(20)):
                read += 1
                yield number

        answers = answered_in_order(counted(), answering.answer, at_once=at_once)
        first = asyncio.ensure_future(anext(answers))
        await settled()
        assert read == at_once

        answering.let_go[0].set()

        assert [await first, *[number async for number in answers]] == list(range(20))
        assert answering.most <= at_once

    run(scenario())


def test_a_stream_that_breaks_does_so_after_the_answers_to_what_came_before() -> None:
    async def scenario() -> None:
        found: list[int] = []
        requests = coming(range(3), ValueError("no message"))
        answers = answered_in_order(requests, Answering().answer, at_once=8)

        with pytest.raises(ValueError, match="no message"):
            await collect(answers, found)

        assert found == [0, 1, 2]

    run(scenario())


def test_an_answer_that_fails_ends_the_stream_and_all_other_work() -> None:
    async def scenario() -> None:
        answering = Answering(2, 3)

        async def answer(number: int) -> int:
            if number == 1:
                raise ValueError("broken")
            return await answering.answer(number)

        found: list[int] = []
        with pytest.raises(ValueError, match="broken"):
            await collect(answered_in_order(coming(range(4)), answer, at_once=8), found)

        assert found == [0]
        assert (answering.working, answering.cancelled) == (0, 2)

    run(scenario())


def test_nothing_goes_on_after_whoever_asked_is_gone() -> None:
    async def scenario() -> None:
        answering = Answering(0, 1, 2)

        answers = answered_in_order(coming(range(3)), answering.answer, at_once=8)
        asking = asyncio.ensure_future(collect(answers, []))
        await settled()
        assert answering.working == 3
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (answering.working, answering.cancelled) == (0, 3)

    run(scenario())


def test_each_request_is_answered_for_the_caller_found_with_it() -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")

    async def requests() -> AsyncIterator[int]:
        for number in range(3):
            caller.set(f"caller {number}")
            yield number

    async def answer(number: int) -> str:
        await asyncio.sleep(0)
        return caller.get()

    async def scenario() -> None:
        answers = answered_in_order(requests(), answer, at_once=2)
        assert [who async for who in answers] == ["caller 0", "caller 1", "caller 2"]

    run(scenario())
