"""The level-triggered controller: claims what is unfinished and drives it to its end.

No state in memory matters: a row says what is wanted and what exists, a claim says who is at it.
A controller that dies loses its claims after a while, and another goes on where the row stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.actions import Means
from parfocal_loop.jobs import Task, abandon_job, run_job
from parfocal_loop.messages import failure_to_pb
from parfocal_loop.metrics import LoopMetrics
from parfocal_loop.persistence import persistently
from parfocal_loop.record import Record
from parfocal_loop.rounds import abandon_round, run_round
from parfocal_loop.turn import Turn
from parfocal_loop.works import Work, WorkKey, WorkStore
from parfocal_runtime.errors import Conflict, DomainError, Unavailable
from parfocal_runtime.logs import get_logger

log = get_logger(__name__)

Action = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """How often the controller looks, and how long its claims hold.

    Attributes:
        poll_seconds: Seconds between two looks.
        claim_seconds: Seconds that a claim holds without being renewed.
    """

    poll_seconds: float
    claim_seconds: float


class Controller:
    """Drives every unfinished round and job that no other controller is at."""

    def __init__(self, works: WorkStore, means: Means, *, pace: Pace, metrics: LoopMetrics) -> None:
        self._works = works
        self._means = means
        self._pace = pace
        self._metrics = metrics
        self._owner = secrets.token_hex(8)
        self._tasks: dict[WorkKey, asyncio.Task[None]] = {}
        self._cancelled: set[WorkKey] = set()
        self._awake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, inside the running event loop."""
        self._looking = asyncio.create_task(self._look_again_and_again())

    def wake(self) -> None:
        """Look at once: something is new, or shall stop."""
        self._awake.set()

    async def stop(self) -> None:
        """Stop without giving anything up; another controller can go on at once."""
        tasks = [task for task in (self._looking, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._works.release(self._owner)
        except Unavailable:
            log.warning("cannot give claims back; they run out by themselves")

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                # The database may be away for a while; what is running goes on.
                log.exception("cannot look for work")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), self._pace.poll_seconds)
            self._awake.clear()

    async def _look(self) -> None:
        seconds = self._pace.claim_seconds
        held = await self._works.renew(self._owner, seconds=seconds)
        for key, cancel in held.items():
            if cancel and key in self._tasks and key not in self._cancelled:
                self._cancelled.add(key)
                self._tasks[key].cancel()
        # What is held and has no task was dropped when the database was away.
        dropped = [await self._works.get(key) for key in held if key not in self._tasks]
        for work in [*dropped, *await self._works.claim(self._owner, seconds=seconds)]:
            if work.key not in self._tasks:
                task = asyncio.create_task(self._drive(work), name=work.key.name)
                self._tasks[work.key] = task

    async def _drive(self, work: Work) -> None:
        try:
            await (self._round(work) if work.key.kind == "round" else self._job(work))
        except Conflict:
            log.warning("another controller has taken over", work=work.key.name)
        except asyncio.CancelledError:
            if work.key not in self._cancelled:
                raise
        except Exception:
            log.exception("cannot drive", work=work.key.name)
        finally:
            self._tasks.pop(work.key, None)
            self._cancelled.discard(work.key)

    async def _round(self, work: Work) -> None:
        turn = Turn(
            project=work.key.project,
            round=work.key.id,
            spec=rounds.RoundSpec.FromString(work.spec),
            status=rounds.RoundStatus.FromString(work.status),
            means=self._means,
            poll_seconds=self._pace.poll_seconds,
            measured=lambda status: self._metrics.round_measured(work.key, turn.strategy, status),
        )
        record = Record(self._works, self._owner, work.key, turn.status)
        await self._to_its_end(
            work,
            record,
            run=lambda: run_round(turn, record.save),
            abandon=lambda: abandon_round(turn),
        )
        self._metrics.round_ended(work.key, turn.strategy, turn.status)

    async def _job(self, work: Work) -> None:
        task = Task(
            spec=jobs.Job.FromString(work.spec),
            status=jobs.JobStatus.FromString(work.status),
            means=self._means,
        )
        record = Record(self._works, self._owner, work.key, task.status)
        await self._to_its_end(
            work, record, run=lambda: run_job(task, record.save), abandon=lambda: abandon_job(task)
        )

    async def _to_its_end(
        self, work: Work, record: Record, *, run: Action, abandon: Action
    ) -> None:
        status = record.status
        try:
            await self._unless_cancelled(work, record, run)
        except (Conflict, Unavailable):
            # The row could not be stored, which says nothing about the work itself.
            raise
        except asyncio.CancelledError:
            if work.key not in self._cancelled:
                raise
            await persistently(abandon)
            status.state = artifacts.WORK_STATE_CANCELLED
        except DomainError as error:
            status.state = artifacts.WORK_STATE_FAILED
            status.failure.CopyFrom(failure_to_pb(error))
        except Exception:
            log.exception("failed", work=work.key.name)
            status.state = artifacts.WORK_STATE_FAILED
            status.failure.reason = "ERROR_REASON_INTERNAL"
            status.failure.message = "something broke; the log of the loop service says what"
        await record.save(finished=True)

    async def _unless_cancelled(self, work: Work, record: Record, run: Action) -> None:
        if work.cancel_requested:
            self._cancelled.add(work.key)
            raise asyncio.CancelledError
        async with record.saved_regularly():
            await run()
