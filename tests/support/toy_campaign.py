"""A protocol whose cells take no time, for tests of the engine; worker processes import it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from parfocal_bench.protocol import Json, Row


@dataclass(frozen=True)
class ToyProtocol:
    """Curves that are a formula of arm and seed; every run of a cell leaves a file in `ran`."""

    ran: Path
    gain: float = 0.05
    seconds: float = 0.0
    fails: str = ""
    name: str = "toy"
    title: str = "A toy"
    metric: str = "auc"
    chance: float = 0.5
    pool: int = 100

    def settings(self) -> Mapping[str, Json]:
        return {"name": self.name, "gain": self.gain}

    def arms(self) -> Mapping[str, Mapping[str, Json]]:
        return {name: {} for name in ("random", "good", "bad")}

    def prepare(self, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)

    def run(self, arm: str, seed: int, cache: Path) -> Sequence[Row]:
        if arm == self.fails:
            raise RuntimeError(f"{arm} cannot run")
        time.sleep(self.seconds)
        self.ran.mkdir(exist_ok=True)
        (self.ran / f"{arm}-{seed}-{uuid4().hex}").touch()
        lift = {"random": 0.0, "good": self.gain, "bad": -self.gain}[arm] * (1 + seed / 10)
        return [
            Row(
                labels,
                {
                    "auc": 0.6 + step / 10 + lift * step + seed / 1000,
                    "own_accuracy": 0.85 if arm == "bad" and step == 1 else 1.0,
                    "steps": 100.0,
                    "foreground": labels / 100,
                    "full": 0.95,
                    "seconds_choosing": 0.5,
                },
            )
            for step, labels in enumerate((10, 20, 40))
        ]

    def runs(self) -> list[str]:
        """Cells that were run, as `arm-seed`, once for each time."""
        if not self.ran.exists():
            return []
        return sorted(path.name.rsplit("-", 1)[0] for path in self.ran.iterdir())
