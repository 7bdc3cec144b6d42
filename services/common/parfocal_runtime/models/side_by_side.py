"""Runs side by side on a processor, each with one thread.

Threads that share a run wait for each other at every layer. Where there is more than one run to
make they do more by themselves; a run that is alone is done sooner if all of them share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from parfocal_runtime.models.datatypes import Array

if TYPE_CHECKING:
    from parfocal_runtime.models.sessions import ModelSession


class SideBySide:
    """Threads for so many runs of a model at a time; they end when nobody holds this any more.

    Whoever shares it waits for a free thread, so that no more runs are made at a time than there
    are processors for them.

    Args:
        at_once: Most runs at a time, at least 1.

    Attributes:
        at_once: As given.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="side-by-side")

    def run(
        self,
        session: ModelSession,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run a session once, as soon as a thread is free; as `ModelSession.run`."""
        return self._threads.submit(session.run, inputs, outputs).result()

    def run_all(
        self,
        session: ModelSession,
        parts: Sequence[Mapping[str, Array]],
        outputs: Sequence[str] | None = None,
    ) -> list[dict[str, Array]]:
        """Run a session on each of `parts`, and return what it gives in their order.

        Raises:
            InvalidInput: As `ModelSession.run`; runs that have not begun are not made any more.
            Exhausted: As `ModelSession.run`.
        """
        runs: list[Future[dict[str, Array]]] = []
        try:
            runs.extend(self._threads.submit(session.run, part, outputs) for part in parts)
            return [run.result() for run in runs]
        finally:
            for run in runs:
                run.cancel()
