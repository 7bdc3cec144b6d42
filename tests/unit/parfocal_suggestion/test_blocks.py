"""Blocks of rows come back in order, and nothing is left at work."""

from __future__ import annotations

import os
import threading

import pytest

from parfocal_suggestion import blocks
from parfocal_suggestion.blocks import in_blocks


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "threads", lambda: 3)


def test_blocks_come_in_order_whoever_is_first_to_end() -> None:
    second_ended = threading.Event()

    def work(part: slice) -> slice:
        if part.start == 0:
            assert second_ended.wait(10)
        elif part.start == 4:
            second_ended.set()
        return part

    assert list(in_blocks(work, 10, 4)) == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_blocks_within_blocks_do_not_wait_for_each_other() -> None:
    def inner(part: slice) -> int:
        return len(range(part.start, part.stop))

    def work(part: slice) -> int:
        return sum(in_blocks(inner, 5, 1))

    assert list(in_blocks(work, 30, 1)) == [5] * 30


def test_what_a_block_raises_is_raised() -> None:
    def work(part: slice) -> None:
        if part.start == 2:
            raise ValueError("block 2")

    with pytest.raises(ValueError, match="block 2"):
        list(in_blocks(work, 10, 1))


def test_nothing_is_at_work_after_the_caller_gave_up() -> None:
    at_work: set[int] = set()
    begun = 0

    def work(part: slice) -> None:
        nonlocal begun
        begun += 1
        at_work.add(part.start)
        threading.Event().wait(0.02)
        at_work.remove(part.start)

    several = in_blocks(work, 100, 1)
    next(several)
    several.close()

    assert not at_work
    assert begun < 20


# Later Pythons warn of what is tried here.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    assert list(in_blocks(lambda part: part.start, 4, 1)) == [0, 1, 2, 3]

    child = os.fork()
    if child == 0:
        worked = list(in_blocks(lambda part: part.start, 4, 1)) == [0, 1, 2, 3]
        os._exit(0 if worked else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
