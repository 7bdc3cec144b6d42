from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from parfocal_runtime.errors import Cancelled
from parfocal_runtime.tasks import CancelFlag, Places, in_thread

name: ContextVar[str] = ContextVar("name", default="")


def test_a_flag_that_is_set_stops_the_work() -> None:
    flag = CancelFlag()
    flag.check()

    flag.set()

    with pytest.raises(Cancelled) as caught:
        flag.check()
    assert flag.is_set()
    assert caught.value.reason == "ERROR_REASON_CANCELLED"


def test_work_runs_in_another_thread_and_returns() -> None:
    def work(base: int, *, add: int) -> tuple[int, str]:
        return base + add, name.get()

    async def run() -> tuple[int, str]:
        name.set("ann")
        return await in_thread(work, 1, add=2)

    assert asyncio.run(run()) == (3, "ann")


def test_what_the_work_raises_comes_out() -> None:
    async def run() -> None:
        await in_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(run())


@pytest.mark.parametrize("by_name", [False, True])
def test_cancelling_sets_the_flags_among_the_arguments(by_name: bool) -> None:
    flag, started, ended = CancelFlag(), threading.Event(), threading.Event()

    def work(cancel: CancelFlag) -> None:
        started.set()
        if cancel.wait(30):
            ended.set()

    async def run() -> None:
        call = in_thread(work, cancel=flag) if by_name else in_thread(work, flag)
        task = asyncio.create_task(call)
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

    assert ended.wait(10)


def test_others_wait_for_a_place() -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.02)
        with lock:
            at_work -= 1

    async def run() -> None:
        places = Places(2)
        await asyncio.gather(*(places.in_thread(work) for _ in range(8)))

    asyncio.run(run())

    assert most == 2


def test_a_place_is_free_when_its_work_has_ended_and_not_when_it_is_cancelled() -> None:
    started, told, going_on, ended = (threading.Event() for _ in range(4))

    def work(cancel: CancelFlag) -> None:
        started.set()
        cancel.wait(30)
        told.set()
        going_on.wait(30)
        ended.set()

    async def run() -> bool:
        places = Places(1)
        first = asyncio.create_task(places.in_thread(work, CancelFlag()))
        await asyncio.to_thread(started.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(places.in_thread(ended.is_set))
        await asyncio.to_thread(told.wait)
        await asyncio.sleep(0.05)
        assert not second.done()
        going_on.set()
        return await second

    assert asyncio.run(run())


def test_work_that_is_cancelled_before_it_begins_never_does() -> None:
    begun = threading.Event()

    def work(cancel: CancelFlag) -> None:
        begun.set()

    async def run() -> None:
        loop, free = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, free.wait)
        places = Places(1)
        task = asyncio.create_task(places.in_thread(work, CancelFlag()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        free.set()
        await busy
        await places.in_thread(free.wait)

    asyncio.run(run())

    assert not begun.is_set()


def test_work_that_fails_gives_its_place_back() -> None:
    async def run() -> int:
        places = Places(1)
        with pytest.raises(ValueError, match="invalid literal"):
            await places.in_thread(int, "x")
        return await places.in_thread(int, "1")

    assert asyncio.run(run()) == 1
