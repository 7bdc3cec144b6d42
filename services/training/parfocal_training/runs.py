"""The server's side of training: starts workers, follows them, and says how runs are.

All state that matters is in the run folders; what is kept here is only who is at work.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from parfocal_runtime.errors import Unavailable
from parfocal_runtime.logs import get_logger
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import in_thread
from parfocal_training.preflight import check
from parfocal_training.progress import Progress
from parfocal_training.run_folder import Failure, RunFolder
from parfocal_training.spec import ModelRef, RunSpec
from parfocal_training.worker import WorkOrder

_log = get_logger(__name__)
_LINE_BYTES = 1 << 20
_ERROR_CHARACTERS = 4000

State = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]


@dataclass(frozen=True)
class RunView:
    """A run as it is now.

    Attributes:
        run: Its name.
        state: Its state; PENDING also where its worker was lost and nobody resumed it.
        progress: How far it is.
        attempts: How often a worker was started.
        create_time: When it was first asked for, ISO 8601.
        end_time: When it was over; empty if it is not.
        model: The published version.
        failure: Why it failed.
    """

    run: str
    state: State
    progress: Progress
    attempts: int
    create_time: str
    end_time: str = ""
    model: ModelRef | None = None
    failure: Failure | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How workers are run.

    Attributes:
        order: What every worker is told, but for the name of the run.
        at_once: Workers at the same time; further runs wait.
        max_attempts: Workers that a run may lose before it counts as failed.
    """

    order: WorkOrder
    at_once: int = 1
    max_attempts: int = 10


@dataclass
class _Active:
    """A run that this server works on, or will."""

    folder: RunFolder
    create_time: str
    attempts: int
    progress: Progress
    state: State = "PENDING"
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    is_waiting: bool = True
    is_stopped: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def update(self, *, state: State | None = None, progress: Progress | None = None) -> None:
        """Take note of a change and wake who waits for one."""
        self.state = state or self.state
        self.progress = progress or self.progress
        self.changed.set()
        self.changed = asyncio.Event()

    def view(self) -> RunView:
        """Return the run as it is now."""
        return RunView(self.folder.run, self.state, self.progress, self.attempts, self.create_time)

    async def stop(self) -> None:
        """End the worker, now or as soon as it is started, and wait for that."""
        self.is_stopped = True
        if self.is_waiting and self.task is not None:
            self.task.cancel()
        self.kill()
        if self.task is not None:
            await asyncio.wait([self.task])

    def kill(self) -> None:
        """Kill the worker, if there is one."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()


class Runs:
    """The runs of a store. Belongs to the event loop that it is used from."""

    def __init__(self, store: ObjectStore, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._active: dict[str, _Active] = {}
        self._places = asyncio.Semaphore(settings.at_once)
        self._starting = asyncio.Lock()

    @property
    def at_work(self) -> int:
        """Number of workers that compute now."""
        return sum(active.state == "RUNNING" for active in self._active.values())

    async def train(self, spec: RunSpec) -> AsyncIterator[RunView]:
        """Start, resume or join a run, and yield what it is like until it is over.

        A caller that goes away does not stop the run.

        Raises:
            AlreadyExists: If the run was asked for something else.
            Unavailable: If the worker was lost; calling again resumes the run.
            DomainError: If the input is not fit to start the run.
        """
        active = await self._begin(spec)
        if active is None:
            yield await self.get(spec.run)
            return
        while self._active.get(spec.run) is active:
            changed = active.changed
            yield active.view()
            await changed.wait()
        view = await self.get(spec.run)
        if not view.is_over:
            raise Unavailable(
                "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
                f"the worker of run {spec.run} was lost; ask again to resume it",
                service="training worker",
            )
        yield view

    async def get(self, run: str) -> RunView:
        """Return a run.

        Raises:
            NotFound: If there is none (`ERROR_REASON_RUN_NOT_FOUND`).
        """
        view = await in_thread(_stored_view, RunFolder(self._store, run))
        active = self._active.get(run)
        return active.view() if active is not None and not view.is_over else view

    async def cancel(self, run: str) -> RunView:
        """Stop a run for good; its model is not published.

        Raises:
            NotFound: If there is none (`ERROR_REASON_RUN_NOT_FOUND`).
            WrongState: If it is over (`ERROR_REASON_WORK_FINISHED`).
        """
        await in_thread(RunFolder(self._store, run).cancel)
        active = self._active.get(run)
        if active is not None:
            await active.stop()
        return await self.get(run)

    async def close(self) -> None:
        """End all workers; their runs resume when they are asked for again."""
        await asyncio.gather(*(active.stop() for active in list(self._active.values())))

    async def _begin(self, spec: RunSpec) -> _Active | None:
        """Return the run at work, or None if it is over."""
        folder = RunFolder(self._store, spec.run)
        async with self._starting:
            active = self._active.get(spec.run)
            if active is not None:
                await in_thread(folder.accept, spec)
                return active
            view = await in_thread(_accepted_view, folder, spec)
            if view.is_over:
                return None
            active = _Active(folder, view.create_time, view.attempts, view.progress)
            active.task = asyncio.create_task(self._work(active), name=f"run {spec.run}")
            self._active[spec.run] = active
            return active

    async def _work(self, active: _Active) -> None:
        try:
            async with self._places:
                active.is_waiting = False
                if await in_thread(active.folder.result) is None:
                    await self._attend(active)
        finally:
            del self._active[active.folder.run]
            active.update()

    async def _attend(self, active: _Active) -> None:
        """Run a worker to its end."""
        run = active.folder.run
        active.attempts = await in_thread(active.folder.begin_attempt)
        active.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "parfocal_training.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            env=_environment(),
        )
        active.update(state="RUNNING")
        _log.info("worker started", run=run, pid=process.pid, attempt=active.attempts)
        if active.is_stopped:
            active.kill()
        assert process.stdin is not None
        order = replace(self._settings.order, run=run).to_json()
        with suppress(ConnectionError):
            process.stdin.write(order.encode() + b"\n")
            await process.stdin.drain()
        errors, _ = await asyncio.gather(_tail(process.stderr), _follow(process.stdout, active))
        status = await process.wait()
        process.stdin.close()
        with suppress(ConnectionError):
            await process.stdin.wait_closed()
        if await in_thread(active.folder.result) is None:
            _log.warning("worker lost", run=run, status=status, stderr=errors)
            if active.attempts >= self._settings.max_attempts:
                await in_thread(active.folder.fail, _lost(active.attempts))
        else:
            _log.info("worker done", run=run, status=status)


def _accepted_view(folder: RunFolder, spec: RunSpec) -> RunView:
    if not folder.exists():
        check(spec, folder.store)
    folder.accept(spec)
    return _stored_view(folder)


def _stored_view(folder: RunFolder) -> RunView:
    create_time, attempts, result = folder.create_time(), folder.attempts(), folder.result()
    if result is None:
        return RunView(folder.run, "PENDING", folder.progress(), attempts, create_time)
    return RunView(
        folder.run,
        result.state,
        result.progress,
        attempts,
        create_time,
        end_time=result.time,
        model=result.model,
        failure=result.failure,
    )


def _environment() -> dict[str, str]:
    """Return our own environment, such that the worker finds what we import."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Threads that wait by spinning take the cores from those that serve.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _lost(attempts: int) -> Failure:
    return Failure("", f"{attempts} workers were lost, none of them came to an end")


async def _follow(stream: asyncio.StreamReader | None, active: _Active) -> None:
    """Take note of each line of progress."""
    assert stream is not None
    async for line in stream:
        with suppress(ValueError, TypeError):
            active.update(progress=Progress(**json.loads(line)))


async def _tail(stream: asyncio.StreamReader | None) -> str:
    """Read to the end and return the last part."""
    assert stream is not None
    text = ""
    while chunk := await stream.read(_LINE_BYTES):
        text = (text + chunk.decode(errors="replace"))[-_ERROR_CHARACTERS:]
    return text
