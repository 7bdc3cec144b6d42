"""Which function does which task."""

from __future__ import annotations

from typing import Protocol

from parfocal_runtime.store import ObjectStore
from parfocal_training.base_jobs import fine_tune_base, train_base
from parfocal_training.encoder_jobs import train_vae, tune_encoder
from parfocal_training.progress import Cancellation, ProgressCallback, TrainResult
from parfocal_training.spec import FineTuneBase, RunSpec, Task, TrainBase, TrainVae, TuneEncoder
from parfocal_training.workspace import CHECKPOINT_SECONDS


class Job(Protocol):
    """Something that trains and publishes."""

    def __call__(
        self,
        spec: RunSpec,
        store: ObjectStore,
        report: ProgressCallback,
        cancel: Cancellation,
        *,
        checkpoint_seconds: float,
    ) -> TrainResult:
        """Do what `spec` asks."""


JOBS: dict[type[Task], Job] = {
    TrainBase: train_base,
    FineTuneBase: fine_tune_base,
    TrainVae: train_vae,
    TuneEncoder: tune_encoder,
}


def train(
    spec: RunSpec,
    store: ObjectStore,
    report: ProgressCallback,
    cancel: Cancellation,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainResult:
    """Do what `spec` asks and publish the model.

    Args:
        spec: What to do.
        store: Where inputs lie and results go.
        report: Told after every step.
        cancel: Asked before every step.
        checkpoint_seconds: Time between two checkpoints.

    Raises:
        DomainError: If the run cannot succeed.
        Cancelled: If it was told to stop.
    """
    job = JOBS[type(spec.task)]
    return job(spec, store, report, cancel, checkpoint_seconds=checkpoint_seconds)
