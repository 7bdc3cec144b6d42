"""How far a long step is, and when it may be over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a step is.

    Attributes:
        fraction: Share that is done, 0 to 1.
        message: The same for a person.
        remaining_seconds: Estimate of the time until it is over; None while that is not known.
    """

    fraction: float
    message: str
    remaining_seconds: float | None = None


Report = Callable[[Progress], None]
"""Takes note of how far a step is."""


class Counter:
    """Counts pieces of equal work, some of which may be there already.

    The pace is that of the pieces that were made since the counter began: what was there already
    costs next to nothing, and would promise too much.

    Args:
        total: All pieces.
        what: What they are called, such as `blocks`.
        clock: Seconds from some point in time.
    """

    def __init__(
        self, total: int, what: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._what = what
        self._clock = clock
        self._begin = clock()
        self._found = self._made = self._set_aside = 0

    def made(self, count: int = 1) -> None:
        """Count pieces that were made."""
        self._made += count

    def found(self, count: int = 1) -> None:
        """Count pieces that were there already."""
        self._found += count

    def set_aside(self, count: int = 1) -> None:
        """Count pieces that are not tried any more."""
        self._set_aside += count

    def progress(self) -> Progress:
        """Return how far the work is."""
        done = self._found + self._made
        left = self._total - done - self._set_aside
        remaining = (self._clock() - self._begin) / self._made * left if self._made else None
        message = f"{done} of {self._total} {self._what}"
        if self._set_aside:
            message += f", {self._set_aside} set aside"
        if remaining and left:
            message += f", about {_in_words(remaining)} left"
        return Progress((done + self._set_aside) / max(self._total, 1), message, remaining)


def _in_words(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
