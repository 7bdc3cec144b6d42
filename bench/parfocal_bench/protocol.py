"""What a simulated campaign runs: a protocol is a plain object that others may bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface
from typing import TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

RANDOM = "random"
"""The arm that every other is compared with."""


@dataclass(frozen=True)
class Row:
    """One point of a learning curve.

    Attributes:
        labels: Labels bought so far, at least 1.
        values: What was measured, by name; NaN where it is undefined.
    """

    labels: int
    values: Mapping[str, float]


class Protocol(Interface):
    """One data set, one way to learn from labels, and the arms that choose them.

    It travels to worker processes, so it holds plain values only; what is large lies in the cache.
    A cell (an arm, a seed) must depend on nothing but what `settings` and `arms` tell and the
    seed: a finished cell is looked up by them and never run again.
    """

    @property
    def name(self) -> str:
        """Name of the campaign, fit for a file name."""
        ...

    @property
    def title(self) -> str:
        """Heading of the report."""
        ...

    @property
    def metric(self) -> str:
        """Name of the value that makes the learning curve; larger is better."""
        ...

    @property
    def chance(self) -> float:
        """The metric of guessing."""
        ...

    @property
    def pool(self) -> int:
        """Labels that there are to buy."""
        ...

    def settings(self) -> Mapping[str, Json]:
        """Return all that decides every cell, the content of the data included, paths excluded."""
        ...

    def arms(self) -> Mapping[str, Mapping[str, Json]]:
        """Return the arms by name, with all that decides their cells beside the settings."""
        ...

    def prepare(self, cache: Path) -> None:
        """Write into a folder what all cells share, unless it is there."""
        ...

    def run(self, arm: str, seed: int, cache: Path) -> Sequence[Row]:
        """Run one cell in this process."""
        ...
