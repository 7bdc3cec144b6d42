"""Rows of several callers in one run, for every model version that is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from parfocal_inference.batching_policy import policy_of
from parfocal_inference.lane import Lane
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Outcome
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel


class BatchingExecutor:
    """Runs requests as the configuration of their model says, those that wait together.

    Each model version has a queue and threads of its own, from its first request until it leaves
    memory. To be used from one event loop.

    Args:
        statistics: Where runs are counted.
    """

    def __init__(self, statistics: InferenceStatistics) -> None:
        self._statistics = statistics
        self._lanes: WeakKeyDictionary[LoadedModel, Lane] = WeakKeyDictionary()

    def __len__(self) -> int:
        """Return how many model versions have a queue."""
        return len(self._lanes)

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        """Return the outputs of `model` for `inputs`.

        Cancelling takes the rows that still wait out of the queue; a run goes to its end.

        Args:
            model: What to run.
            inputs: An array for each of its inputs.
            outputs: Names of the outputs wanted.
            schedule: When to run.

        Raises:
            InvalidInput: If the model cannot run on them (`ERROR_REASON_INVALID_FIELD`), or its
                inputs have different numbers of rows (`ERROR_REASON_SHAPE_MISMATCH`).
            Exhausted: If too many requests wait (`ERROR_REASON_QUEUE_FULL`); the error says when
                to try again.
            TimedOut: If it waited longer than it may (`ERROR_REASON_QUEUE_TIMEOUT`).
        """
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = self._opened(model)
        return await lane.run(model.session, inputs, outputs, schedule)

    def close(self) -> None:
        """Let the threads end when nothing waits any more."""
        for lane in list(self._lanes.values()):
            lane.close()

    def _opened(self, model: LoadedModel) -> Lane:
        policy = policy_of(model.config, model.session)
        return Lane(
            model.name, model.version, policy, self._statistics.of(model.name, model.version)
        )
