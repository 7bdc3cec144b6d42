"""When a request wants to run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """When a request wants to run, among those that wait for the same model.

    Attributes:
        priority: 1 is the highest; 0 is the model's default.
        timeout_us: Microseconds that it may wait to run; 0 is the model's default.
    """

    priority: int = 0
    timeout_us: int = 0


DEFAULT = Schedule()
"""The schedule of a request that wants nothing special."""
