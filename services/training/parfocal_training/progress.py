"""What a run says of itself while it goes on, and how it is told to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        iteration: Steps done.
        iterations: Steps planned.
        seconds: Seconds of training so far, summed over restarts.
        metrics: What is measured as it goes, by name.
        message: What it is doing, for a person.
    """

    iteration: int = 0
    iterations: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with.

    Attributes:
        model: Name of the published model.
        version: Its new version.
        progress: How far the run had come.
    """

    model: str
    version: int
    progress: Progress


class Cancellation(Protocol):
    """What a run asks between two steps."""

    def check(self) -> None:
        """Raise `Cancelled` if the run is to stop."""


ProgressCallback = Callable[[Progress], None]
Scalars = dict[str, Any]
