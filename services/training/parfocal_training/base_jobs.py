"""Training the base model: from labelled boxes, and further from verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from parfocal_runtime.box import Triple
from parfocal_runtime.models.cards import base_card
from parfocal_runtime.store import ObjectStore
from parfocal_training.candidates import open_candidates, read_judgements
from parfocal_training.checkpoint import model_weights
from parfocal_training.export import (
    Probability,
    check_parity,
    evaluate,
    export_onnx,
    random_volumes,
)
from parfocal_training.losses import segmentation_loss
from parfocal_training.progress import (
    Cancellation,
    Progress,
    ProgressCallback,
    Scalars,
    TrainResult,
)
from parfocal_training.regions import read_regions, require_both_sides
from parfocal_training.sampling import Batch, Rejection, WindowSampler
from parfocal_training.spec import (
    FineTuneBase,
    ModelRef,
    RunSpec,
    SegmentationLoss,
    TrainBase,
    UNetShape,
    VoxelSize,
)
from parfocal_training.unet import UNet, UNetConfig
from parfocal_training.verdicts import ReplayMixture, verdict_regions
from parfocal_training.workspace import (
    CHECKPOINT_SECONDS,
    Workspace,
    load_parent,
    own_label_message,
)

HALO_SHARE = 8
"""Voxels within a side / HALO_SHARE of a window's face see too little context."""


class Sampler(Protocol):
    """Where mini-batches come from."""

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        """Return `size` windows."""


@dataclass
class SegmentationObjective:
    """A base model and its loss on random windows."""

    model: UNet
    sampler: Sampler
    loss: SegmentationLoss
    batch: int

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch and the accuracy on it."""
        batch = self.sampler.batch(self.batch, rng)
        target, valid = torch.from_numpy(batch.target), torch.from_numpy(batch.valid)
        logits = self.model(torch.from_numpy(batch.image))
        loss = segmentation_loss(
            logits, target, valid, cap=self.loss.balance_cap, dice_weight=self.loss.dice_weight
        )
        return loss, {"accuracy": balanced_accuracy(logits, target, valid)}

    def finished(self, iteration: int) -> bool:
        """Return False: only the limits end it."""
        return False

    def scalars(self) -> Scalars:
        """Return the counts of the sampler."""
        return {"drawn": self.sampler.drawn} if isinstance(self.sampler, ReplayMixture) else {}

    def restore(self, scalars: Scalars) -> None:
        """Take the counts back."""
        if isinstance(self.sampler, ReplayMixture):
            self.sampler.drawn = scalars["drawn"]


def train_base(
    spec: RunSpec,
    store: ObjectStore,
    report: ProgressCallback,
    cancel: Cancellation,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainResult:
    """Train a base model from labelled boxes and publish it.

    Raises:
        DomainError: If the labels or arrays are not fit, or the export is not faithful.
        Cancelled: If it was told to stop.
    """
    work = Workspace(spec, store, report, cancel, checkpoint_seconds)
    task = cast(TrainBase, spec.task)
    work.say("reading labelled boxes")
    window = task.architecture.training_window
    regions = read_regions(store, task.regions, window, field="regions")
    require_both_sides(regions)
    torch.manual_seed(spec.seed)
    network = _network(task.architecture)
    sampler = WindowSampler(regions, window, Rejection(threshold=task.loss.reject_below))
    batch = task.optimisation.batch * task.architecture.windows
    objective = SegmentationObjective(network, sampler, task.loss, batch)
    progress = own_label_message(work.descend(objective, task.optimisation))
    description = f"{_kind(task.architecture)} trained from {len(regions)} labelled boxes."
    config = {"architecture": asdict(task.architecture), "voxel_size_nm": task.voxel_size_nm}
    return _publish(work, network, config, description, progress, None)


def fine_tune_base(
    spec: RunSpec,
    store: ObjectStore,
    report: ProgressCallback,
    cancel: Cancellation,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainResult:
    """Train a base model further from verdicts on its proposals and publish the new version.

    Raises:
        DomainError: If the verdicts or arrays are not fit, or the export is not faithful.
        Cancelled: If it was told to stop.
    """
    work = Workspace(spec, store, report, cancel, checkpoint_seconds)
    task = cast(FineTuneBase, spec.task)
    parent, weights = load_parent(work, task.parent)
    config = weights.scalars["config"]
    shape = _shape(config["architecture"])
    work.say("reading verdicts")
    sets = [open_candidates(store, folder) for folder in task.candidates]
    judgements = read_judgements(store, task.snapshots, sets)
    window = shape.training_window
    fresh = WindowSampler(verdict_regions(store, judgements, window), window)
    replayed = read_regions(store, task.replay, window, field="replay")
    replay = WindowSampler(replayed, window) if replayed else None
    network = _network(shape)
    network.load_state_dict(model_weights(weights))
    sampler = ReplayMixture(fresh, replay, task.replay_share)
    batch = task.optimisation.batch * shape.windows
    objective = SegmentationObjective(network, sampler, task.loss, batch)
    progress = own_label_message(work.descend(objective, task.optimisation))
    description = f"{_kind(shape)} fine-tuned on {len(judgements)} verdicts."
    return _publish(work, network, config, description, progress, parent)


def balanced_accuracy(logits: Tensor, target: Tensor, valid: Tensor) -> float:
    """Return the mean of the shares of valid foreground and background voxels that are right.

    NaN where one of the two is missing.
    """
    with torch.no_grad():
        right = ((logits > 0) == (target > 0.5)).to(torch.float32)
        sides = (valid * target, valid * (1 - target))
        shares = [float((right * side).sum() / side.sum()) for side in sides if side.sum() > 0]
    return sum(shares) / 2 if len(shares) == 2 else float("nan")


def _kind(shape: UNetShape) -> str:
    return "Residual 3D U-Net" if any(shape.isotropy) else "Residual U-Net of sections"


def _network(shape: UNetShape) -> UNet:
    network = UNet(UNetConfig(widths=shape.widths, isotropy=shape.isotropy))
    # oneDNN convolves channels-last sections about 1.5 times faster.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _shape(document: Mapping[str, Any]) -> UNetShape:
    window = cast(Triple, tuple(document["window"]))
    return UNetShape(
        widths=tuple(document["widths"]), isotropy=tuple(document["isotropy"]), window=window
    )


def _publish(
    work: Workspace,
    network: UNet,
    config: dict[str, Any],
    description: str,
    progress: Progress,
    parent: ModelRef | None,
) -> TrainResult:
    work.report(progress)
    shape = _shape(config["architecture"])
    module = Probability(network)
    samples = random_volumes(3, shape.window, work.spec.seed)
    graph = export_onnx(module, samples[0], input_name="image", output_name="probability")
    parity = check_parity(module, graph, samples, run=work.spec.run)
    z, y, x = shape.window
    size = config["voxel_size_nm"]
    card = base_card(
        description,
        test_input=samples[:1],
        test_output=evaluate(module, samples[:1]),
        halo=(z // HALO_SHARE, y // HALO_SHARE, x // HALO_SHARE),
        voxel_size_nm=cast(VoxelSize, tuple(size or (1.0, 1.0, 1.0))),
    )
    card = card if size else replace(card, voxel_size_nm=None)
    progress = replace(progress, metrics={**progress.metrics, "export_difference": parity})
    return work.publish(
        graph, network=network, config=config, card=card, progress=progress, parent=parent
    )
