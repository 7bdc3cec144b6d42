"""Running loaded models on the tensors of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving_metrics import InferenceStatistics, RunTimes
from parfocal_runtime.errors import Cancelled, DomainError, Exhausted
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.tasks import CancelFlag, in_thread

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        outputs: Arrays by name, in the order wanted.
        queue_ns: Nanoseconds until the run began.
        infer_ns: Nanoseconds of the run.
    """

    outputs: dict[str, Array]
    queue_ns: int
    infer_ns: int


class Executor(Protocol):
    """Decides when requests run, and which run together."""

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        """Return the outputs of `model` for `inputs`, as soon as `schedule` lets them run.

        Raises:
            InvalidInput: If the model cannot run on them.
            Exhausted: If too many requests wait.
        """
        ...


class ThreadExecutor:
    """Runs each request by itself, in a thread, as soon as one is free.

    Requests run in the order in which they came, whatever their schedule.
    """

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        """Return the outputs of `model` for `inputs`."""
        return await in_thread(
            _run, model, inputs, outputs, asked=time.monotonic_ns(), cancel=CancelFlag()
        )


class Inference:
    """Runs requests and counts them.

    Args:
        executor: Decides when they run.
        statistics: Where they are counted.
    """

    def __init__(self, executor: Executor, statistics: InferenceStatistics) -> None:
        self._executor = executor
        self._statistics = statistics

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        started_ns: int,
        pack: Callable[[dict[str, Array]], T],
        schedule: Schedule = DEFAULT,
    ) -> T:
        """Return what `pack` makes of the outputs wanted.

        Args:
            model: What to run.
            inputs: An array for each of its inputs.
            outputs: Names of the outputs wanted.
            started_ns: Monotonic clock in nanoseconds when the request came.
            pack: Takes the outputs by name, in the order wanted; its time is counted.
            schedule: When the request wants to run.

        Raises:
            InvalidInput: If the model cannot run on these inputs.
            Exhausted: If too many requests wait.
        """
        counted = self._statistics.of(model.name, model.version)
        asked = time.monotonic_ns()
        with counted.pending():
            try:
                outcome = await self._executor.run(model, inputs, outputs, schedule)
            except (DomainError, asyncio.CancelledError) as error:
                counted.failed(_failure(error), request_ns=time.monotonic_ns() - started_ns)
                raise
        ran = time.monotonic_ns()
        answer = pack(outcome.outputs)
        ended = time.monotonic_ns()
        counted.succeeded(
            rows=rows(model, inputs),
            times=RunTimes(
                request_ns=ended - started_ns,
                queue_ns=outcome.queue_ns,
                compute_input_ns=asked - started_ns,
                compute_infer_ns=outcome.infer_ns,
                compute_output_ns=ended - ran,
            ),
        )
        return answer

    def refused(self, model: LoadedModel, *, started_ns: int) -> None:
        """Count a request for `model` whose tensors or parameters did not fit."""
        counted = self._statistics.of(model.name, model.version)
        counted.failed("OTHER", request_ns=time.monotonic_ns() - started_ns)


def rows(model: LoadedModel, inputs: Mapping[str, Array]) -> int:
    """Return how many rows a request has; 1 where the model has no batch dimension."""
    first = model.session.inputs[0]
    return inputs[first.name].shape[0] if first.has_batch else 1


def _run(
    model: LoadedModel,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    asked: int,
    cancel: CancelFlag,
) -> Outcome:
    cancel.check()
    began = time.monotonic_ns()
    found = model.session.run(inputs, outputs)
    return Outcome(found, began - asked, time.monotonic_ns() - began)


def _failure(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | Cancelled):
        return "CANCELED"
    return "REJECTED" if isinstance(error, Exhausted) else "BACKEND"
