"""A session that remembers what reached it, which the outputs do not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import ModelSession


class WatchedSession(ModelSession):
    """Passes runs on to another session.

    Attributes:
        seen: The inputs and the names of the outputs wanted of each run.
    """

    def __init__(
        self, inner: ModelSession, *, on_gpu: bool = False, rows_at_once: int | None = None
    ) -> None:
        self._inner = inner
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.providers = inner.providers
        self.on_gpu = on_gpu
        self.rows_at_once = rows_at_once
        self.seen: list[tuple[Mapping[str, Array], list[str]]] = []

    @property
    def rows(self) -> list[int]:
        """How many rows each run had."""
        return [len(next(iter(inputs.values()))) for inputs, _ in self.seen]

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the other session and remember."""
        self.seen.append((inputs, list(outputs or ())))
        return self._inner.run(inputs, outputs)
