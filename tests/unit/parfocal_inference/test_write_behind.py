from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from parfocal_inference.waiting import Waiting
from parfocal_inference.write_behind import WriteBehind
from parfocal_runtime.box import Box
from parfocal_runtime.errors import Unavailable

BOX = Box((16, 0, 0), (41, 4, 5))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def sections(start: int, stop: int) -> npt.NDArray[np.uint8]:
    """Sections that hold their own numbers."""
    numbers = np.arange(start, stop, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None], (stop - start, 4, 5)).copy()


def test_sections_are_written_in_whole_chunks_and_the_rest_at_the_end(
    executor: ThreadPoolExecutor,
) -> None:
    written: list[tuple[Box, npt.NDArray[np.uint8]]] = []

    behind = WriteBehind(
        lambda box, data: written.append((box, data)),
        BOX,
        chunk=8,
        executor=executor,
        waiting=Waiting(),
    )
    for start, stop in [(16, 17), (17, 17), (17, 35), (35, 39), (39, 41)]:
        behind.add(sections(start, stop))
    behind.finish()

    assert [(box.start[0], box.stop[0]) for box, _ in written] == [(16, 32), (32, 41)]
    for box, data in written:
        assert np.array_equal(data, sections(box.start[0], box.stop[0]))


def test_making_goes_on_during_a_write_and_waits_for_it_before_the_next(
    executor: ThreadPoolExecutor,
) -> None:
    gate, waiting, pieces = threading.Event(), Waiting(), 0

    def write(box: Box, data: npt.NDArray[np.uint8]) -> None:
        nonlocal pieces
        assert gate.wait(10)
        pieces += 1

    behind = WriteBehind(write, BOX, chunk=8, executor=executor, waiting=waiting)
    behind.add(sections(16, 24))
    behind.add(sections(24, 31))
    assert pieces == 0
    assert waiting.seconds == 0
    threading.Timer(0.05, gate.set).start()
    behind.add(sections(31, 41))
    behind.finish()

    assert pieces == 2
    assert waiting.seconds > 0.02


def test_what_writing_raises_is_raised(executor: ThreadPoolExecutor) -> None:
    def write(box: Box, data: npt.NDArray[np.uint8]) -> None:
        raise Unavailable("ERROR_REASON_DEPENDENCY_UNAVAILABLE", "gone")

    behind = WriteBehind(write, BOX, chunk=8, executor=executor, waiting=Waiting())
    behind.add(sections(16, 41))

    with pytest.raises(Unavailable):
        behind.finish()
