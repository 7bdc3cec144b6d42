"""Bulk work on Dask: one task is one by-reference call.

In-process threads by default; the scheduler's address makes it a cluster. Retries and spread
are Dask's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from distributed import Client, wait

from parfocal_runtime.tasks import CancelFlag

T = TypeVar("T")

_RETRIES = 2
_POLL_SECONDS = 0.2


class Bulk:
    """Runs many small tasks on a Dask scheduler that is started, or found, on first use."""

    def __init__(self, *, scheduler: str, threads: int) -> None:
        """Prepare; nothing is started yet.

        Args:
            scheduler: Address of a `distributed` scheduler, or empty for threads in this process.
            threads: Tasks at a time in this process.
        """
        self._scheduler = scheduler
        self._threads = threads
        self._client: Client | None = None
        self._starting = threading.Lock()

    def run(
        self,
        task: Callable[[T], Any],
        arguments: Iterable[T],
        *,
        done: Callable[[int], None],
        cancel: CancelFlag,
    ) -> list[Any]:
        """Run `task` on every argument and return the results in the order of the arguments.

        Args:
            task: A function of a module, so that a worker elsewhere can import it.
            arguments: One per task.
            done: Called with the number of finished tasks whenever one finishes.
            cancel: Stops the tasks that have not begun, and raises.

        Raises:
            Exception: What the first failing task raised, after Dask's retries.
            Cancelled: If `cancel` was set.
        """
        client = self._connected()
        with client.as_current():
            futures = client.map(task, list(arguments), retries=_RETRIES, pure=False)
            try:
                pending = futures
                while pending:
                    cancel.check()
                    with contextlib.suppress(TimeoutError):
                        pending = list(wait(pending, _POLL_SECONDS, "FIRST_COMPLETED").not_done)
                        done(len(futures) - len(pending))
                return [future.result() for future in futures]
            finally:
                client.cancel(futures, force=True)

    def _connected(self) -> Client:
        with self._starting:
            if self._client is None:
                self._client = (
                    Client(self._scheduler, set_as_default=False)
                    if self._scheduler
                    else Client(
                        processes=False,
                        n_workers=1,
                        threads_per_worker=self._threads,
                        # Without an address it would listen to the world, on a fixed port.
                        dashboard_address="127.0.0.1:0",
                        worker_dashboard_address="127.0.0.1:0",
                        set_as_default=False,
                    )
                )
            return self._client

    def close(self) -> None:
        """Let go of the scheduler; one of this process ends."""
        with self._starting:
            if self._client is not None:
                self._client.close()
                self._client = None
