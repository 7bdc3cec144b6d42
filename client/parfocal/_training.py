"""Training runs."""

from __future__ import annotations

from collections.abc import Iterator

from parfocal._connection import Connection
from parfocal.training.v1 import training_service_pb2 as messages
from parfocal.training.v1.training_service_pb2_grpc import TrainingServiceStub


class Training:
    """Training runs, keyed by name: asking again follows, resumes, or returns the finished one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = TrainingServiceStub(connection.channel)

    def train(
        self, request: messages.TrainRequest, *, timeout_seconds: float | None = None
    ) -> Iterator[messages.TrainingRun]:
        """Yield a run as it goes, until it is over; stopping to read does not stop it.

        Raises:
            ConflictError: If a run of that name trains something else.

        Example:
            >>> for run in client.training.train(request):  # doctest: +SKIP
            ...     print(run.iteration, dict(run.metrics))
        """
        stream = self._connection.stream(
            self._stub.Train, lambda: request, timeout_seconds=timeout_seconds
        )
        for response in stream:
            yield response.run

    def get(self, run: str) -> messages.TrainingRun:
        """Return a run as it is now.

        Raises:
            NotFoundError: If there is none of that name.

        Example:
            >>> client.training.get("mito-1").model.version  # doctest: +SKIP
            2
        """
        return self._connection.call(self._stub.GetRun, messages.GetRunRequest(run=run))

    def cancel(self, run: str) -> messages.TrainingRun:
        """Stop a run; what it trained so far is not published.

        Raises:
            ConflictError: If it is over.

        Example:
            >>> client.training.cancel("mito-1")  # doctest: +SKIP
        """
        return self._connection.call(self._stub.CancelRun, messages.CancelRunRequest(run=run))
