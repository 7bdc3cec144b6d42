"""One model in several places: each run goes where there is room."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import ModelSession


class SpreadSession(ModelSession):
    """A session that passes each run to one of several, that with most room for its size.

    Args:
        sessions: At least one session of the same graph, with the number of runs that it takes at
            once.
    """

    def __init__(self, sessions: Sequence[tuple[ModelSession, int]]) -> None:
        first = sessions[0][0]
        self.inputs, self.outputs = first.inputs, first.outputs
        self.providers = tuple(
            dict.fromkeys(name for session, _ in sessions for name in session.providers)
        )
        self.on_gpu = any(session.on_gpu for session, _ in sessions)
        self.rounds = any(session.rounds for session, _ in sessions)
        self._sessions = [session for session, _ in sessions]
        self._most = [instances for _, instances in sessions]
        self._running = [0] * len(sessions)
        self._lock = threading.Lock()

    @property
    def places(self) -> tuple[ModelSession, ...]:
        """One session for each place that the model runs in."""
        return tuple(self._sessions)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph once, in one of the places; as `ModelSession.run`."""
        with self._lock:
            place = min(
                range(len(self._sessions)), key=lambda at: self._running[at] / self._most[at]
            )
            self._running[place] += 1
        try:
            return self._sessions[place].run(inputs, outputs)
        finally:
            with self._lock:
                self._running[place] -= 1
