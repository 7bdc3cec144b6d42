"""Follows long work with progress bars, and remembers how long each kind of it took."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from parfocal import ServerError
from parfocal.common.v1.artifact_pb2 import (
    WORK_STATE_CANCELLED,
    WORK_STATE_SUCCEEDED,
    Failure,
)
from parfocal.loop.v1.job_pb2 import Job, JobStatus
from parfocal.loop.v1.round_pb2 import (
    ROUND_STAGE_EMBED,
    ROUND_STAGE_ESTIMATE,
    ROUND_STAGE_LABEL,
    ROUND_STAGE_PROPOSE,
    ROUND_STAGE_QUEUE,
    ROUND_STAGE_SEGMENT,
    ROUND_STAGE_SNAPSHOT,
    ROUND_STAGE_SUGGEST,
    ROUND_STAGE_TRAIN,
    RoundSpec,
    RoundStatus,
    StepStatus,
)
from parfocal_demo.bars import Bars, Show
from parfocal_demo.report.findings import Stage

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from parfocal import Client

STAGE_NAMES = {
    ROUND_STAGE_SEGMENT: "Segment",
    ROUND_STAGE_PROPOSE: "Propose candidates",
    ROUND_STAGE_EMBED: "Embed",
    ROUND_STAGE_SUGGEST: "Suggest",
    ROUND_STAGE_QUEUE: "Queue",
    ROUND_STAGE_LABEL: "Answer",
    ROUND_STAGE_SNAPSHOT: "Snapshot",
    ROUND_STAGE_ESTIMATE: "Estimate",
    ROUND_STAGE_TRAIN: "Fine-tune",
}


class Follower:
    """Runs work of the loop to its end while showing how far it is, from any thread.

    Args:
        client: A connection as a curator.
        project: The project that the work belongs to.
        console: Where the bars go.
    """

    def __init__(self, client: Client, project: str, console: Console) -> None:
        self._client = client
        self._project = project
        self._bars = Bars(console)
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = defaultdict(float)
        self._times: dict[str, int] = defaultdict(int)

    def job(self, name: str, spec: Job, *, stage: str, title: str) -> JobStatus:
        """Do a job, or find that it was done, and return its status.

        Args:
            name: Name of the job.
            spec: What to do.
            stage: Kind of work, for the account of time.
            title: What to show.

        Raises:
            ServerError: If it failed.
        """
        self._client.jobs.create(self._project, name, spec)
        with self._bars.bar(title) as show:
            for job in self._client.jobs.watch(self._project, name):
                show(job.status.fraction, job.status.message)
        status = self._client.jobs.get(self._project, name).status
        _require_success(name, status.state, status.failure)
        self._count(stage, status.start_time, status.end_time)
        return status

    def round(
        self, name: str, spec: RoundSpec, *, title: str, answer: Callable[[str], None]
    ) -> RoundStatus:
        """Do a round, answering its queries, and return its status.

        Args:
            name: Name of the round.
            spec: What to do.
            title: What to show.
            answer: Answers the queries of the round; called once its queue is there.

        Raises:
            ServerError: If it failed.
        """
        self._client.rounds.create(self._project, name, spec)
        answered = False
        with self._bars.bar(title) as show:
            for state in self._client.rounds.watch(self._project, name):
                status = state.status
                step = _current(status)
                show(step.fraction, f"{STAGE_NAMES.get(status.stage, '')} {step.message}")
                if status.stage == ROUND_STAGE_LABEL and status.selection and not answered:
                    answer(name)
                    answered = True
        status = self._client.rounds.get(self._project, name).status
        _require_success(name, status.state, status.failure)
        for step in status.steps:
            self._count(STAGE_NAMES[step.stage], step.start_time, step.end_time)
        return status

    @contextmanager
    def local(self, stage: str) -> Iterator[Show]:
        """Show a bar for work of this process and count its time."""
        began = time.monotonic()
        with self._bars.bar(stage) as show:
            yield show
        self._took(stage, time.monotonic() - began)

    def stages(self) -> tuple[Stage, ...]:
        """Return what took how long, longest first."""
        order = sorted(self._seconds, key=lambda name: -self._seconds[name])
        return tuple(Stage(name, self._seconds[name], self._times[name]) for name in order)

    def _count(self, stage: str, start: Timestamp, end: Timestamp) -> None:
        self._took(stage, (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9)

    def _took(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds
            self._times[stage] += 1


def _current(status: RoundStatus) -> StepStatus:
    return next((step for step in status.steps if step.stage == status.stage), StepStatus())


def _require_success(name: str, state: int, failure: Failure) -> None:
    if state != WORK_STATE_SUCCEEDED:
        why = failure.message or ("stopped" if state == WORK_STATE_CANCELLED else "not over")
        raise ServerError(f"{name}: {why}", reason=failure.reason)
