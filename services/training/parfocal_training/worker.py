"""The process that trains: one run after another, as long as it is told to.

    python -m parfocal_training.worker < orders

Each line of standard input is a `WorkOrder` as JSON. The end of standard input ends this process
at once, so that no worker outlives its server. Standard output carries one JSON object a line
(`progress.Progress`), and the line `DONE` when a run is over; how it ended is in its folder in the
object store. Killing this process at any time is safe: the run resumes. One that has run once
starts the next run seconds sooner, because torch and its exporter are there.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import Any, TextIO

from parfocal_runtime.allocator import keep_large_buffers
from parfocal_runtime.errors import Cancelled, DomainError, Exhausted, Unavailable
from parfocal_runtime.quota import cpu_threads
from parfocal_runtime.store import ObjectStore, S3Settings, open_store
from parfocal_training.progress import Progress
from parfocal_training.run_folder import Failure, RunFolder

REPORT_SECONDS = 0.5
"""Least time between two lines of progress."""
STORE_SECONDS = 10.0
"""Least time between two writes of progress to the object store."""
EXIT_ORPHANED = 3
DONE = "done\n"
"""What a worker says when a run is over and it waits for the next."""


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """What a worker needs to know.

    Attributes:
        run: Name of the run; the rest is in its folder.
        store_uri: Object store.
        s3: How to reach the S3 service, for an `s3://` store.
        threads: Threads to compute with; 0 is what the CPU quota gives.
        checkpoint_seconds: Time between two checkpoints.
    """

    run: str
    store_uri: str
    s3: S3Settings = field(default_factory=S3Settings)
    threads: int = 0
    checkpoint_seconds: float = 30.0

    def to_json(self) -> str:
        """Return the order as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> WorkOrder:
        """Return the order that `to_json` wrote."""
        document = json.loads(line)
        return cls(**{**document, "s3": S3Settings(**document["s3"])})


class Reporter:
    """Pass progress on, to the parent and now and then to the object store."""

    def __init__(
        self, folder: RunFolder, output: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._output = output
        self._clock = clock
        self._told = self._stored = float("-inf")

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`; what comes too soon after the last is dropped."""
        now = self._clock()
        is_last = progress.iteration >= progress.iterations
        if now - self._told >= REPORT_SECONDS or is_last:
            self._told = now
            self._output.write(json.dumps(asdict(progress)) + "\n")
            self._output.flush()
        if progress.iteration and (now - self._stored >= STORE_SECONDS or is_last):
            self._stored = now
            self._folder.report(progress)


class _Unstoppable:
    """Cancelling a worker is killing it; checkpoints look for cancellation from elsewhere."""

    def check(self) -> None:
        """Return."""


def main() -> None:
    """Do run after run; whoever gave them ends this process."""
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_hear, args=(sys.stdin, orders), name="orders", daemon=True).start()
    output = _claim_stdout()
    # Each step makes and drops the same arrays.
    keep_large_buffers()
    while True:
        order = WorkOrder.from_json(orders.get())
        work(order, open_store(order.store_uri, s3=order.s3), output)
        gc.collect()
        output.write(DONE)
        output.flush()


def work(order: WorkOrder, store: ObjectStore, output: TextIO) -> None:
    """Do the run of `order` and write down how it ended.

    Raises:
        DomainError: If the same run may succeed later.
    """
    # Not before here: the parent reads this module without wanting torch.
    import torch

    from parfocal_training.jobs import train

    torch.set_num_threads(order.threads or cpu_threads())
    folder = RunFolder(store, order.run)
    try:
        result = train(
            folder.spec(),
            store,
            Reporter(folder, output),
            _Unstoppable(),
            checkpoint_seconds=order.checkpoint_seconds,
        )
    except Cancelled:
        return
    except DomainError as error:
        if is_passing(error):
            raise
        folder.fail(Failure.of(error))
    else:
        folder.succeed(result)


def is_passing(error: DomainError) -> bool:
    """Return whether the same run may succeed later."""
    return isinstance(error, Exhausted | Unavailable)


def _hear(stream: TextIO, orders: SimpleQueue[str]) -> None:
    """Pass on one order a line; the end of all is the end of the parent."""
    for line in stream:
        orders.put(line)
    # The run resumes from its checkpoint; there is nobody left to tell anything.
    os._exit(EXIT_ORPHANED)


def _claim_stdout() -> Any:
    """Return standard output for progress alone: what libraries print goes to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
