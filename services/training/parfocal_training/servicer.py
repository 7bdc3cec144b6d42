"""`parfocal.training.v1.TrainingService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from parfocal.training.v1 import training_service_pb2 as pb
from parfocal.training.v1 import training_service_pb2_grpc as pb_grpc
from parfocal_training.convert import run_to_pb, spec_from_pb
from parfocal_training.runs import Runs


class TrainingServicer(pb_grpc.TrainingServiceServicer):
    """Answers calls from `Runs`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def Train(
        self, request: pb.TrainRequest, context: Any
    ) -> AsyncIterator[pb.TrainResponse]:
        """Train, streaming progress."""
        async for view in self._runs.train(spec_from_pb(request)):
            yield pb.TrainResponse(run=run_to_pb(view))

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.TrainingRun:
        """Return a run."""
        return run_to_pb(await self._runs.get(request.run))

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.TrainingRun:
        """Stop a run."""
        return run_to_pb(await self._runs.cancel(request.run))
