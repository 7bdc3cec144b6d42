from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

import parfocal_loop.bulk as bulk_module
from parfocal_loop.bulk import Bulk
from parfocal_runtime.errors import Cancelled, InvalidInput
from parfocal_runtime.tasks import CancelFlag


@pytest.fixture(scope="module")
def bulk() -> Iterator[Bulk]:
    bulk = Bulk(scheduler="", threads=2)
    yield bulk
    bulk.close()


def square(number: int) -> int:
    return number * number


_failures: dict[int, int] = {}


def fails_once(number: int) -> int:
    _failures[number] = _failures.get(number, 0) + 1
    if _failures[number] == 1:
        raise ConnectionError("lost")
    return number


def refused(number: int) -> int:
    raise InvalidInput("ERROR_REASON_INVALID_FIELD", "never", field="number")


def run(bulk: Bulk, task: Callable[[int], Any], arguments: Iterable[int]) -> dict[int, Any]:
    """Return what each argument, by its number, came to."""
    results: dict[int, Any] = {}
    bulk.run(task, arguments, done=results.update, cancel=CancelFlag())
    return results


def test_every_argument_comes_to_one_result(bulk: Bulk) -> None:
    assert run(bulk, square, range(20)) == {n: n * n for n in range(20)}


def test_arguments_are_taken_as_there_is_room(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_module, "_MOST_RUNNING", 4)
    taken, finished, ahead = 0, 0, []

    def arguments() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            ahead.append(taken - finished)
            yield number

    def done(results: Sequence[tuple[int, Any]]) -> None:
        nonlocal finished
        finished += len(results)

    bulk.run(square, arguments(), done=done, cancel=CancelFlag())

    assert finished == 30
    assert max(ahead) <= 4


def test_a_task_that_fails_once_is_tried_again(bulk: Bulk) -> None:
    assert run(bulk, fails_once, [1, 2]) == {0: 1, 1: 2}


def test_what_a_task_raises_is_raised(bulk: Bulk) -> None:
    with pytest.raises(InvalidInput):
        bulk.run(refused, [1], done=lambda _: None, cancel=CancelFlag())


_gate = threading.Event()


def waits(number: int) -> int:
    return number if number == 0 else int(_gate.wait(30))


def test_a_set_flag_stops_the_tasks_that_wait(bulk: Bulk) -> None:
    cancel = CancelFlag()

    def stop_at_first(_: Sequence[tuple[int, Any]]) -> None:
        cancel.set()

    with pytest.raises(Cancelled):
        bulk.run(waits, range(50), done=stop_at_first, cancel=cancel)
    _gate.set()


def test_nothing_listens_beyond_this_machine() -> None:
    listening = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    assert [address for address in listening if address not in LOOPBACK] == []
    assert listening, "not even the dashboard was seen"


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}

# A process of its own, since other tests of this one may listen as they please. It prints, in
# hexadecimal, the addresses of the sockets on which it listens.
LISTENING = """
import os
from pathlib import Path

from parfocal_loop.bulk import Bulk
from parfocal_runtime.tasks import CancelFlag

bulk = Bulk(scheduler="", threads=2)
bulk.run(abs, [1], done=lambda _: None, cancel=CancelFlag())
sockets = {os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
for table in ("tcp", "tcp6"):
    for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            print(fields[1].partition(":")[0])
bulk.close()
"""
