"""Training encoders: variational auto-encoders of patches, and their tuning from verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from parfocal_runtime.models.cards import Stream, encoder_card
from parfocal_runtime.store import ObjectStore
from parfocal_training.candidates import Judgement, open_candidates, read_judgements, read_patches
from parfocal_training.checkpoint import model_weights
from parfocal_training.export import PARITY_BATCHES, check_parity, evaluate, export_onnx
from parfocal_training.losses import reconstruction_loss
from parfocal_training.patches import image_patches, mask_patches
from parfocal_training.progress import (
    Cancellation,
    Progress,
    ProgressCallback,
    Scalars,
    TrainResult,
)
from parfocal_training.spec import ModelRef, RunSpec, TrainVae, TuneEncoder
from parfocal_training.triplet import split_labels
from parfocal_training.tuning import Patches, tune, turned
from parfocal_training.vae import Encoder, Vae, VaeConfig, normalised
from parfocal_training.workspace import CHECKPOINT_SECONDS, Workspace, load_parent


@dataclass
class VaeObjective:
    """An auto-encoder and its loss on random patches, turned and flipped."""

    model: Vae
    patches: Patches
    task: TrainVae

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch."""
        rows = rng.integers(len(self.patches), size=self.task.optimisation.batch)
        patch = torch.from_numpy(turned(self.patches[rows], rng)[:, None])
        noise = rng.standard_normal((len(rows), self.task.latent), dtype=np.float32)
        output, mean, log_variance = self.model(patch, torch.from_numpy(noise))
        target = normalised(patch, self.task.stream)
        loss = reconstruction_loss(
            output,
            target,
            mean,
            log_variance,
            norm=self.task.reconstruction,
            kl_weight=self.task.kl_weight,
        )
        distance = float((output.detach() - target).abs().mean())
        return loss, {"reconstruction": distance}

    def finished(self, iteration: int) -> bool:
        """Return False: only the limits end it."""
        return False

    def scalars(self) -> Scalars:
        """Return nothing: the generator is all the state there is."""
        return {}

    def restore(self, scalars: Scalars) -> None:
        """Take nothing back."""


def train_vae(
    spec: RunSpec,
    store: ObjectStore,
    report: ProgressCallback,
    cancel: Cancellation,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainResult:
    """Train an encoder of pictures or of masks without labels, and publish it.

    Raises:
        DomainError: If the arrays are not fit, or the export is not faithful.
        Cancelled: If it was told to stop.
    """
    work = Workspace(spec, store, report, cancel, checkpoint_seconds)
    task = cast(TrainVae, spec.task)
    work.say("reading patches")
    patches = vae_patches(store, task, np.random.default_rng([spec.seed, 1]))
    torch.manual_seed(spec.seed)
    config = VaeConfig(
        stream=task.stream, side=task.patch_side, latent=task.latent, widths=task.widths
    )
    objective = VaeObjective(Vae(config), patches, task)
    progress = work.descend(objective, task.optimisation)
    description = f"Variational auto-encoder of {task.stream} patches; the mean is the embedding."
    return _publish(work, objective.model.encoder, config, description, progress, patches, None)


def vae_patches(store: ObjectStore, task: TrainVae, rng: np.random.Generator) -> Patches:
    """Return what an auto-encoder learns from, (n, side, side)."""
    if task.stream == "image":
        return image_patches(store, task.images, count=task.patches, side=task.patch_side, rng=rng)
    return mask_patches(store, task.candidates, count=task.patches, side=task.patch_side, rng=rng)


def tune_encoder(
    spec: RunSpec,
    store: ObjectStore,
    report: ProgressCallback,
    cancel: Cancellation,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainResult:
    """Tune an encoder on verdicts and publish the new version.

    A tuning takes seconds, so an interrupted one begins again.

    Raises:
        WrongState: If there is no True or no False verdict; the encoder stays as it is
            (`ERROR_REASON_TOO_FEW_LABELS`).
        DomainError: If the arrays are not fit, or the export is not faithful.
        Cancelled: If it was told to stop.
    """
    work = Workspace(spec, store, report, cancel, checkpoint_seconds)
    task = cast(TuneEncoder, spec.task)
    parent, weights = load_parent(work, task.parent)
    config = _vae_config(weights.scalars["config"])
    work.say("reading verdicts")
    sets = [open_candidates(store, folder) for folder in task.candidates]
    judgements = read_judgements(store, task.snapshots, sets)
    verdicts = np.array([judgement.verdict for judgement in judgements])
    rng = np.random.default_rng([spec.seed, 1])
    split = split_labels(verdicts, share=task.held_out, rng=rng)
    patches = _judged_patches(store, judgements, config.stream)

    def fresh() -> Encoder:
        encoder = Encoder(config)
        encoder.load_state_dict(model_weights(weights))
        return encoder

    encoder, progress = tune(
        fresh,
        patches,
        split,
        task,
        seed=spec.seed,
        descend=lambda objective: work.descend(objective, task.optimisation, resumable=False),
    )
    description = f"Encoder of {config.stream} patches tuned on {len(judgements)} verdicts."
    return _publish(work, encoder, config, description, progress, patches, parent)


def _judged_patches(store: ObjectStore, judgements: Sequence[Judgement], stream: str) -> Patches:
    """Return the patches of judged candidates in their order; they are sorted by set."""
    parts = []
    for _, group in groupby(judgements, key=lambda judged: judged.candidates.folder):
        judged = list(group)
        rows = np.array([each.candidate for each in judged], dtype=np.int64)
        parts.append(read_patches(store, judged[0].candidates, stream, rows))
    return cast(Patches, np.concatenate(parts))


def _vae_config(document: dict[str, Any]) -> VaeConfig:
    return VaeConfig(**{**document, "widths": tuple(document["widths"])})


def _publish(
    work: Workspace,
    encoder: Encoder,
    config: VaeConfig,
    description: str,
    progress: Progress,
    patches: Patches,
    parent: ModelRef | None,
) -> TrainResult:
    work.report(progress)
    samples = _test_samples(patches)
    graph = export_onnx(encoder, samples[0], input_name="patch", output_name="embedding")
    parity = check_parity(encoder, graph, samples, run=work.spec.run)
    card = encoder_card(
        description,
        cast(Stream, config.stream),
        test_input=samples[:1],
        test_output=evaluate(encoder, samples[:1]),
    )
    progress = replace(progress, metrics={**progress.metrics, "export_difference": parity})
    return work.publish(
        graph, network=encoder, config=asdict(config), card=card, progress=progress, parent=parent
    )


def _test_samples(patches: Patches) -> Patches:
    rows = np.arange(PARITY_BATCHES[-1]) % len(patches)
    return cast(Patches, np.ascontiguousarray(patches[rows][:, None]))
