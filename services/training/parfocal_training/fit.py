"""The descent that every task shares: steps, schedule, checkpoints, progress, when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from parfocal_training.checkpoint import Checkpoint, capture, restore
from parfocal_training.progress import Cancellation, Progress, ProgressCallback, Scalars
from parfocal_training.spec import Optimisation

MAX_GRADIENT_NORM = 5.0
SMOOTHING = 0.98
"""Share of the running mean that a step keeps."""
MINIMUM_STEPS = 50
"""Steps before a running accuracy can end a run early."""


class Objective(Protocol):
    """A model and what it is to minimise."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one random batch, and metrics; `accuracy` is on own labels."""

    def finished(self, iteration: int) -> bool:
        """Return whether the objective itself wants to stop after this step."""

    def scalars(self) -> Scalars:
        """Return what a checkpoint must hold besides weights, moments and the generator."""

    def restore(self, scalars: Scalars) -> None:
        """Take back what `scalars` gave."""


class CheckpointStore(Protocol):
    """Where a run keeps its last checkpoint."""

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, or None."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint, atomically."""


@dataclass
class Descent:
    """One training, from the first step or from where it was interrupted.

    The same seed gives the same weights on the same number of threads, interrupted or not,
    unless the limit in seconds ends it.

    Attributes:
        objective: What to minimise.
        optimisation: How.
        seed: Seed of everything random.
        checkpoints: Where to go on from, and to.
        checkpoint_seconds: Time between two checkpoints.
        clock: Seconds, for limits and checkpoints.
    """

    objective: Objective
    optimisation: Optimisation
    seed: int
    checkpoints: CheckpointStore
    checkpoint_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    iteration: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._optimiser = torch.optim.AdamW(
            _parameter_groups(self.objective.model, self.optimisation.weight_decay),
            lr=self.optimisation.learning_rate,
        )

    def run(self, report: ProgressCallback, cancel: Cancellation) -> Progress:
        """Descend until done and return how far it went.

        Raises:
            Cancelled: If it was told to stop.
        """
        self._resume()
        self.objective.model.train()
        saved = self.clock()
        while not self._is_done():
            cancel.check()
            begun = self.clock()
            self._step()
            now = self.clock()
            self.seconds += now - begun
            report(self.progress("training"))
            if now - saved >= self.checkpoint_seconds:
                self.save()
                saved = self.clock()
        self.save()
        return self.progress("trained")

    def progress(self, message: str) -> Progress:
        """Return how far the descent is."""
        return Progress(
            self.iteration, self.optimisation.iterations, self.seconds, dict(self.metrics), message
        )

    def save(self) -> None:
        """Write a checkpoint of this step."""
        scalars: Scalars = {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "generator": self._rng.bit_generator.state,
            "objective": self.objective.scalars(),
        }
        self.checkpoints.save(capture(self.objective.model, self._optimiser, scalars))

    def _resume(self) -> None:
        checkpoint = self.checkpoints.load()
        if checkpoint is None:
            return
        scalars = restore(checkpoint, self.objective.model, self._optimiser)
        self.iteration, self.seconds = scalars["iteration"], scalars["seconds"]
        self.metrics = dict(scalars["metrics"])
        self._rng.bit_generator.state = scalars["generator"]
        self.objective.restore(scalars["objective"])

    def _step(self) -> None:
        rate = self.optimisation.learning_rate * self._schedule()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss, metrics = self.objective.step(self._rng)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.objective.model.parameters(), MAX_GRADIENT_NORM)
        self._optimiser.step()
        self.iteration += 1
        for name, value in {"loss": float(loss.detach()), **metrics}.items():
            self.metrics[name] = self._smoothed(self.metrics.get(name), value)

    def _smoothed(self, before: float | None, value: float) -> float:
        if before is None or math.isnan(before):
            return value
        return before if math.isnan(value) else SMOOTHING * before + (1 - SMOOTHING) * value

    def _schedule(self) -> float:
        """Warm up linearly, then follow half a cosine to zero at the nearer limit."""
        limits = self.optimisation
        done = self.iteration / limits.iterations
        if limits.seconds:
            done = max(done, self.seconds / limits.seconds)
        warm = min(1.0, (self.iteration + 1) / max(limits.warm_up, 1))
        return warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _is_done(self) -> bool:
        limits = self.optimisation
        if self.iteration >= limits.iterations:
            return True
        if limits.seconds and self.seconds >= limits.seconds:
            return True
        if self.objective.finished(self.iteration):
            return True
        reached = self.metrics.get("accuracy", 0.0) >= limits.target_accuracy > 0
        return reached and self.iteration >= MINIMUM_STEPS


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and kernels, not biases and norms."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
