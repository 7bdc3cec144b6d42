"""Running loaded models on the tensors of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving_metrics import InferenceStatistics, RunTimes
from parfocal_runtime.errors import Cancelled, Exhausted, TimedOut
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel

T = TypeVar("T")


class Outcome(NamedTuple):
    """What a run gave.

    Attributes:
        outputs: Arrays by name, in the order wanted.
        queue_ns: Nanoseconds until the run began.
        input_ns: Nanoseconds that inputs took to be put together.
        infer_ns: Nanoseconds of the run.
        output_ns: Nanoseconds that outputs took to be taken apart.
    """

    outputs: dict[str, Array]
    queue_ns: int
    infer_ns: int
    input_ns: int = 0
    output_ns: int = 0


class Executor(Protocol):
    """Decides when requests run, and which run together."""

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        """Return the outputs of `model` for `inputs`.

        Raises:
            InvalidInput: If the model cannot run on them.
            Exhausted: If too many requests wait.
            TimedOut: If it waited longer than it may.
        """
        ...


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
        schedule: Schedule = DEFAULT,
        *,
        started_ns: int,
        pack: Callable[[dict[str, Array]], T],
    ) -> T:
        """Return what `pack` makes of the outputs wanted.

        Args:
            model: What to run.
            inputs: An array for each of its inputs.
            outputs: Names of the outputs wanted.
            schedule: When it wants to run.
            started_ns: Monotonic clock in nanoseconds when the request came.
            pack: Takes the outputs by name, in the order wanted; its time is counted.

        Raises:
            InvalidInput: If the model cannot run on these inputs.
            Exhausted: If too many requests wait.
            TimedOut: If it waited longer than it may.
        """
        counted = self._statistics.of(model.name, model.version)
        asked = time.monotonic_ns()
        with counted.pending():
            try:
                outcome = await self._executor.run(model, inputs, outputs, schedule)
            except (Exception, asyncio.CancelledError) as error:
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
                compute_input_ns=asked - started_ns + outcome.input_ns,
                compute_infer_ns=outcome.infer_ns,
                compute_output_ns=outcome.output_ns + ended - ran,
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


def _failure(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | Cancelled):
        return "CANCELED"
    return "REJECTED" if isinstance(error, Exhausted | TimedOut) else "BACKEND"
