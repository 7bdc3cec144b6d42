"""Bulk work on Dask: one task is one by-reference call.

In-process threads by default; the scheduler's address makes it a cluster. Retries and spread
are Dask's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, wait

from parfocal_runtime.tasks import CancelFlag

T = TypeVar("T")

_RETRIES = 2
_MOST_RUNNING = 1024
"""Tasks that the scheduler knows of at a time: more than there are workers, for any lab."""
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
        done: Callable[[Sequence[tuple[int, Any]]], None],
        cancel: CancelFlag,
    ) -> None:
        """Run `task` on every argument.

        Args:
            task: A function of a module, so that a worker elsewhere can import it.
            arguments: One per task; taken as there is room for them, so there may be any number.
            done: Called with what finished since it was called last: the number of the argument
                and the result, in the order of the numbers.
            cancel: Stops the tasks that have not begun, and raises.

        Raises:
            Exception: What the first failing task raised, after Dask's retries, or `done`.
            Cancelled: If `cancel` was set.
        """
        client = self._connected()
        waiting = enumerate(arguments)
        running: dict[Future[Any], int] = {}
        with client.as_current():
            try:
                while True:
                    cancel.check()
                    if len(running) <= _MOST_RUNNING // 2:
                        batch = list(islice(waiting, _MOST_RUNNING - len(running)))
                        values = [value for _, value in batch]
                        futures = client.map(task, values, retries=_RETRIES, pure=False)
                        numbers = (number for number, _ in batch)
                        running.update(zip(futures, numbers, strict=True))
                    if not running:
                        return
                    with contextlib.suppress(TimeoutError):
                        finished = wait(list(running), _POLL_SECONDS, "FIRST_COMPLETED").done
                        results = [(running.pop(each), each.result()) for each in finished]
                        done(sorted(results, key=lambda result: result[0]))
            finally:
                client.cancel(list(running), force=True)

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
