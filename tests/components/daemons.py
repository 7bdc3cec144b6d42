"""What the throw-away servers of the tests share: ports, daemons, waiting, an end for all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_START_SECONDS = 60


class DidNotStart(Exception):
    """A daemon ended or did not answer in time; its log is in the message."""


def free_port() -> int:
    """Return a port that was free a moment ago; `serve` starts anew if it is taken meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scratch(*, owner: str | None = None) -> Iterator[Path]:
    """Make a folder and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="parfocal-test-"))
    try:
        if owner is not None:
            shutil.chown(folder, owner, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def daemon(
    command: list[str],
    *,
    log: Path,
    end: signal.Signals = signal.SIGKILL,
    user: str | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the background and end it by the signal `end`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            env=env,
            cwd="/",
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(end)
        process.wait()


def wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when `is_ready`.

    Raises:
        DidNotStart: If the process ends before, or a minute passes.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-2000:]
            raise DidNotStart(f"{process.args!r} did not start:\n{text}")
        time.sleep(0.05)


def end_killed(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, all by SIGKILL, and wait until they are gone."""
    family = [process.pid, *_children(process.pid)]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any(map(_is_running, family)):
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_running(pid: int) -> bool:
    """Return whether a process can still do something; one that nobody has buried cannot."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def serve(
    start: Callable[[ExitStack], str],
    *,
    attempts: int = 3,
    told: Callable[[str], None] | None = None,
) -> None:
    """Start a server, print how to reach it, and end it when standard input closes.

    So it ends with whoever started it, however that ends. A line of standard input is given to
    `told`, and a line comes back when that is done.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for attempt in range(1, attempts + 1):
        with ExitStack() as stack:
            try:
                address = start(stack)
            except DidNotStart:
                if attempt == attempts:
                    raise
                continue
            print(address, flush=True)
            for line in sys.stdin:
                if told is not None:
                    told(line.strip())
                print("done", flush=True)
            return
