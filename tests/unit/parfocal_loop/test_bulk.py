from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

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


def test_results_come_in_the_order_of_the_arguments(bulk: Bulk) -> None:
    seen: list[int] = []

    results = bulk.run(square, range(20), done=seen.append, cancel=CancelFlag())

    assert results == [n * n for n in range(20)]
    assert seen[-1] == 20
    assert seen == sorted(seen)


def test_a_task_that_fails_once_is_tried_again(bulk: Bulk) -> None:
    assert bulk.run(fails_once, [1, 2], done=lambda _: None, cancel=CancelFlag()) == [1, 2]


def test_what_a_task_raises_is_raised(bulk: Bulk) -> None:
    with pytest.raises(InvalidInput):
        bulk.run(refused, [1], done=lambda _: None, cancel=CancelFlag())


_gate = threading.Event()


def waits(number: int) -> int:
    return number if number == 0 else int(_gate.wait(30))


def test_a_set_flag_stops_the_tasks_that_wait(bulk: Bulk) -> None:
    cancel = CancelFlag()

    def stop_at_first(_: int) -> None:
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
