"""What the tasks share: where a run keeps its state, whom it tells, and how it publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from parfocal_runtime.errors import (
    AlreadyExists,
    Cancelled,
    InvalidInput,
    NotFound,
    WrongState,
)
from parfocal_runtime.models.cards import CardFields
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.variants import publish_variant
from parfocal_runtime.store import ObjectStore
from parfocal_training import checkpoint as checkpoints
from parfocal_training.checkpoint import Checkpoint
from parfocal_training.fit import Descent, Objective
from parfocal_training.parents import resolve_version, trainable_weights
from parfocal_training.progress import Cancellation, Progress, ProgressCallback, TrainResult
from parfocal_training.run_folder import CHECKPOINT_FILE, RunFolder
from parfocal_training.spec import ModelRef, Optimisation, RunSpec

CHECKPOINT_SECONDS = 30.0
WEIGHTS_FILE = "weights.safetensors"
OWN_LABEL_WARNING = 0.9
"""Running accuracy on own labels below which a run says that it has not learned them."""


@dataclass(frozen=True)
class Workspace:
    """A run while it is worked on.

    Attributes:
        spec: What it is asked to do.
        store: Where everything lies.
        report: Told after every step.
        cancel: Asked before every step.
        checkpoint_seconds: Time between two checkpoints.
    """

    spec: RunSpec
    store: ObjectStore
    report: ProgressCallback
    cancel: Cancellation
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    @property
    def folder(self) -> RunFolder:
        """The run's folder in the object store."""
        return RunFolder(self.store, self.spec.run)

    def descend(
        self, objective: Objective, optimisation: Optimisation, *, resumable: bool = True
    ) -> Progress:
        """Train from the last checkpoint, or from the start, until done.

        Args:
            objective: What to minimise.
            optimisation: How.
            resumable: Whether to keep checkpoints.
        """
        descent = Descent(
            objective,
            optimisation,
            self.spec.seed,
            _RunCheckpoints(self.folder) if resumable else _NoCheckpoints(),
            checkpoint_seconds=self.checkpoint_seconds,
        )
        return descent.run(self.report, self.cancel)

    def say(self, message: str) -> None:
        """Tell what the run is doing when no step is being made."""
        self.report(Progress(message=message))

    def publish(
        self,
        graph: bytes,
        *,
        network: nn.Module,
        config: Mapping[str, Any],
        card: CardFields,
        progress: Progress,
        parent: ModelRef | None = None,
    ) -> TrainResult:
        """Keep the weights and publish the graph, once for the run however often it is called.

        Raises:
            Cancelled: If the run was cancelled before.
        """
        self.cancel.check()
        weights = {"model." + name: value for name, value in network.state_dict().items()}
        saved = checkpoints.to_bytes(Checkpoint(weights, {"config": dict(config)}))
        self.store.write(self.folder.path(WEIGHTS_FILE), saved)
        if not self.folder.decide("publish"):
            raise Cancelled("ERROR_REASON_CANCELLED", f"run {self.spec.run} was cancelled")
        version = ModelRepository(self.store).publish(
            self.spec.model,
            graph,
            card=card,
            lineage=self._lineage(progress, parent),
            key=f"runs/{self.spec.run}",
        )
        return TrainResult(self.spec.model, version, self._with_variants(version, progress))

    def _with_variants(self, version: int, progress: Progress) -> Progress:
        """Publish the variants that are wanted; return `progress` with how far they differ."""
        metrics, message = dict(progress.metrics), progress.message
        for precision in self.spec.variants:
            try:
                made = publish_variant(
                    self.store,
                    self.spec.model,
                    precision,
                    version=version,
                    limit=self.spec.variant_limit,
                )
            # The model itself is there; what it lacks is said and does not undo it.
            except (AlreadyExists, InvalidInput, WrongState) as error:
                message = f"{message}; not published: {error.message}"
            else:
                metrics[f"{precision}_difference"] = made.report.difference
        return replace(progress, metrics=metrics, message=message)

    def _lineage(self, progress: Progress, parent: ModelRef | None) -> dict[str, Any]:
        return {
            "run": self.spec.run,
            "weights": self.folder.path(WEIGHTS_FILE),
            "parent": asdict(parent) if parent else None,
            "seed": self.spec.seed,
            "parameters": asdict(self.spec.task),
            "iterations": progress.iteration,
            "metrics": dict(progress.metrics),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }


def load_parent(work: Workspace, parent: ModelRef) -> tuple[ModelRef, Checkpoint]:
    """Return the version that a run starts from, with its weights.

    Raises:
        NotFound: If there is no such version (`ERROR_REASON_MODEL_NOT_FOUND`).
        WrongState: If it was not trained here, so that there are no weights
            (`ERROR_REASON_MODEL_NOT_READY`).
    """
    resolved = work.folder.resolve_parent(resolve_version(work.store, parent))
    path = trainable_weights(work.store, resolved)
    return resolved, checkpoints.from_bytes(work.store.read(path))


def own_label_message(progress: Progress) -> Progress:
    """Return `progress` with a word on whether the run learned its own labels."""
    accuracy = progress.metrics.get("accuracy", 1.0)
    message = "trained"
    if accuracy < OWN_LABEL_WARNING:
        message = f"trained, but only {accuracy:.2f} accurate on its own labels; train longer"
    metrics = {**progress.metrics, "own_label_accuracy": accuracy}
    return Progress(progress.iteration, progress.iterations, progress.seconds, metrics, message)


class _RunCheckpoints:
    """The last checkpoint of a run, in its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, or None."""
        try:
            return checkpoints.from_bytes(
                self._folder.store.read(self._folder.path(CHECKPOINT_FILE))
            )
        except NotFound:
            return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint.

        Raises:
            Cancelled: If somebody cancelled the run from elsewhere.
        """
        if self._folder.is_cancelled():
            raise Cancelled("ERROR_REASON_CANCELLED", f"run {self._folder.run} was cancelled")
        self._folder.store.write(
            self._folder.path(CHECKPOINT_FILE), checkpoints.to_bytes(checkpoint)
        )


class _NoCheckpoints:
    """Checkpoints of what is so short that it begins again."""

    def load(self) -> Checkpoint | None:
        """Return None."""
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep nothing."""
