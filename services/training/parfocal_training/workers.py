"""The server's side of its workers: started when needed, kept for a while for what comes next."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from parfocal_runtime.logs import get_logger
from parfocal_training.progress import Progress
from parfocal_training.worker import DONE

_log = get_logger(__name__)
_LINE_BYTES = 1 << 20
_ERROR_CHARACTERS = 4000


class Worker:
    """A process that does one run after another. Killing it at any time is safe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._errors = asyncio.create_task(_tail(process.stderr))

    @classmethod
    async def started(cls) -> Worker:
        """Return a new process."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "parfocal_training.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LINE_BYTES,
                env=_environment(),
            )
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    async def do(self, order: str, hear: Callable[[Progress], None]) -> bool:
        """Do one run and return whether the worker lived to say that it is over.

        Args:
            order: The `WorkOrder` as a line.
            hear: Hears of each progress.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(ConnectionError):
            stdin.write(order.encode() + b"\n")
            await stdin.drain()
        async for line in stdout:
            if line == DONE.encode():
                return True
            with suppress(ValueError, TypeError):
                hear(Progress(**json.loads(line)))
        return False

    def kill(self) -> None:
        """End the process, if it has not."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and the last that was written to stderr."""
        errors = await self._errors
        status = await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        return status, errors


class Workers:
    """Workers that wait for a run. Belongs to the event loop that it is used from."""

    def __init__(self, idle_seconds: float) -> None:
        """Keep a worker for so long after a run; 0 keeps none."""
        self._idle_seconds = idle_seconds
        self._idle: dict[Worker, asyncio.Task[None]] = {}

    async def take(self) -> Worker:
        """Return a worker that waits, or else a new one."""
        while self._idle:
            worker, leaving = self._idle.popitem()
            leaving.cancel()
            if worker.is_alive:
                return worker
            await worker.ended()
        return await Worker.started()

    def put_back(self, worker: Worker) -> None:
        """Keep a worker whose run is over."""
        self._idle[worker] = asyncio.create_task(self._let_go(worker))

    async def close(self) -> None:
        """End the workers that wait."""
        waiting, self._idle = self._idle, {}
        for worker, leaving in waiting.items():
            leaving.cancel()
            worker.kill()
        await asyncio.gather(*(worker.ended() for worker in waiting))

    async def _let_go(self, worker: Worker) -> None:
        await asyncio.sleep(self._idle_seconds)
        del self._idle[worker]
        worker.kill()
        await worker.ended()
        _log.info("idle worker ended", pid=worker.pid)


def _environment() -> dict[str, str]:
    """Return our own environment, such that the worker finds what we import."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Threads that wait by spinning take the cores from those that serve.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


async def _tail(stream: asyncio.StreamReader | None) -> str:
    """Read to the end and return the last part."""
    assert stream is not None
    text = ""
    while chunk := await stream.read(_LINE_BYTES):
        text = (text + chunk.decode(errors="replace"))[-_ERROR_CHARACTERS:]
    return text
