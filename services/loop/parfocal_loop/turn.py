"""One round under way: what is wanted, what exists, and what to work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.actions import Means
from parfocal_loop.messages import note, time_to_pb
from parfocal_loop.progress import Progress

STAGES = (
    rounds.ROUND_STAGE_SEGMENT,
    rounds.ROUND_STAGE_PROPOSE,
    rounds.ROUND_STAGE_EMBED,
    rounds.ROUND_STAGE_SUGGEST,
    rounds.ROUND_STAGE_QUEUE,
    rounds.ROUND_STAGE_LABEL,
    rounds.ROUND_STAGE_SNAPSHOT,
    rounds.ROUND_STAGE_ESTIMATE,
    rounds.ROUND_STAGE_TRAIN,
)


@dataclass(frozen=True)
class Turn:
    """One round under way.

    Attributes:
        project: The project's own name.
        round: The round's own name.
        spec: What is wanted.
        status: What exists; steps write into it and the controller stores it.
        means: What to work with.
        poll_seconds: Seconds between two looks at what people have answered.
        measured: Told now and then what the labels so far say, while people work.
    """

    project: str
    round: str
    spec: rounds.RoundSpec
    status: rounds.RoundStatus
    means: Means
    poll_seconds: float
    measured: Callable[[rounds.RoundStatus], None] = lambda status: None

    @property
    def parent(self) -> str:
        """Resource name of the project."""
        return f"projects/{self.project}"

    @property
    def strategy(self) -> str:
        """Name of the strategy, such as `two-stream`."""
        return (self.spec.strategy.WhichOneof("strategy") or "").replace("_", "-")

    @property
    def all_rounds(self) -> list[str]:
        """This round and the ones whose labels are known, oldest first."""
        return [*self.spec.history, self.round]

    def step(self, stage: rounds.RoundStage.ValueType) -> rounds.StepStatus:
        """Return the status of a step, added if it was not begun."""
        for step in self.status.steps:
            if step.stage == stage:
                return step
        return self.status.steps.add(stage=stage, state=artifacts.WORK_STATE_PENDING)

    def report(self, stage: rounds.RoundStage.ValueType, progress: Progress) -> None:
        """Note how far a step is."""
        note(self.step(stage), progress)

    def note(self, text: str) -> None:
        """Note once what could not be done as asked and does not stop the round."""
        if text not in self.status.notes:
            self.status.notes.append(text)


def fresh_status() -> rounds.RoundStatus:
    """Return the status of a round that has not begun."""
    steps = [rounds.StepStatus(stage=stage, state=artifacts.WORK_STATE_PENDING) for stage in STAGES]
    return rounds.RoundStatus(state=artifacts.WORK_STATE_PENDING, stage=STAGES[0], steps=steps)


def begin(step: rounds.StepStatus) -> None:
    """Note that a step is begun, perhaps again."""
    step.state = artifacts.WORK_STATE_RUNNING
    step.attempts += 1
    if not step.HasField("start_time"):
        step.start_time.CopyFrom(time_to_pb(time.time()))


def end(step: rounds.StepStatus, artifact: str) -> None:
    """Note that a step is done and what it made."""
    step.state = artifacts.WORK_STATE_SUCCEEDED
    step.fraction = 1.0
    step.ClearField("remaining_seconds")
    step.artifact = artifact
    step.end_time.CopyFrom(time_to_pb(time.time()))
