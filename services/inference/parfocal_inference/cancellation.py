"""Asking, between two pieces of long work, whether anyone still wants the result."""

from __future__ import annotations

from typing import Protocol


class Cancellation(Protocol):
    """What long work asks between two pieces; `parfocal_runtime` has the real one."""

    def check(self) -> None:
        """Raise if the caller went away."""


class _Uncancelled:
    def check(self) -> None:
        """Return: nobody can stop this work."""


UNCANCELLED: Cancellation = _Uncancelled()
