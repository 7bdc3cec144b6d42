from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from parfocal_runtime.errors import Cancelled
from parfocal_runtime.tasks import CancelFlag, in_thread

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
