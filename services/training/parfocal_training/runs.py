"""The server's side of training: starts workers, follows them, and says how runs are.

All state that matters is in the run folders; what is kept here is only who is at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from parfocal_training.workers import Worker, Workers

_log = get_logger(__name__)

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
        """Whether nothing will change any more, unless it failed and is asked for again."""
        return self.state in ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How workers are run.

    Attributes:
        order: What every worker is told, but for the name of the run.
        at_once: Workers at the same time; further runs wait.
        max_attempts: Workers that a run may lose before it counts as failed.
        idle_seconds: How long a worker waits for another run.
    """

    order: WorkOrder
    at_once: int = 1
    max_attempts: int = 10
    idle_seconds: float = 0.0


@dataclass
class _Active:
    """A run that this server works on, or will."""

    folder: RunFolder
    create_time: str
    attempts: int
    progress: Progress
    state: State = "PENDING"
    worker: Worker | None = None
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
        if self.worker is not None:
            self.worker.kill()


class Runs:
    """The runs of a store. Belongs to the event loop that it is used from."""

    def __init__(self, store: ObjectStore, settings: WorkerSettings) -> None:
        self._store = store
        self._settings = settings
        self._active: dict[str, _Active] = {}
        self._workers = Workers(settings.idle_seconds)
        self._places = asyncio.Semaphore(settings.at_once)
        self._starting = asyncio.Lock()

    @property
    def at_work(self) -> int:
        """Number of workers that compute now."""
        return sum(active.state == "RUNNING" for active in self._active.values())

    async def train(self, spec: RunSpec) -> AsyncIterator[RunView]:
        """Start, resume or join a run, and yield what it is like until it is over.

        One that failed is resumed too. A caller that goes away does not stop the run.

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
        await self._workers.close()

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
        """Let a worker do a run."""
        run = active.folder.run
        active.attempts = await in_thread(active.folder.begin_attempt)
        active.worker = worker = await self._workers.take()
        active.update(state="RUNNING")
        _log.info("worker begins", run=run, pid=worker.pid, attempt=active.attempts)
        if active.is_stopped:
            active.kill()
        order = replace(self._settings.order, run=run).to_json()
        is_there = await worker.do(order, lambda progress: active.update(progress=progress))
        active.worker = None
        if is_there:
            self._workers.put_back(worker)
            _log.info("worker done", run=run, pid=worker.pid)
            return
        status, errors = await worker.ended()
        if await in_thread(active.folder.result) is None:
            _log.warning("worker lost", run=run, pid=worker.pid, status=status, stderr=errors)
            if active.attempts >= self._settings.max_attempts:
                await in_thread(active.folder.fail, _lost(active.attempts))


def _accepted_view(folder: RunFolder, spec: RunSpec) -> RunView:
    if not folder.exists():
        check(spec, folder.store)
    folder.accept(spec)
    folder.reopen()
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


def _lost(attempts: int) -> Failure:
    return Failure("", f"{attempts} workers were lost, none of them came to an end")
