"""Training encoders: variational auto-encoders of patches, and their tuning from verdicts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from parfocal_runtime.models.cards import Stream, encoder_card
from parfocal_runtime.store import ObjectStore
from torch import Tensor

from parfocal_training.candidates import Judgement, open_candidates, read_judgements, read_patches
from parfocal_training.checkpoint import model_weights
from parfocal_training.export import PARITY_BATCHES, check_parity, evaluate, export_onnx
from parfocal_training.losses import embedding_loss, reconstruction_loss
from parfocal_training.patches import image_patches, mask_patches
from parfocal_training.progress import (
    Cancellation,
    Progress,
    ProgressCallback,
    Scalars,
    TrainResult,
)
from parfocal_training.spec import ModelRef, RunSpec, TrainVae, TuneEncoder
from parfocal_training.triplet import LabelSplit, draw_triplets, split_labels
from parfocal_training.vae import Encoder, Vae, VaeConfig, normalised
from parfocal_training.workspace import CHECKPOINT_SECONDS, Workspace, load_parent

Patches = npt.NDArray[np.uint8] | npt.NDArray[np.int8]

EVALUATE_EVERY = 5
HELD_OUT_TRIPLETS = 256


@dataclass
class VaeObjective:
    """An auto-encoder and its loss on random patches, turned and flipped."""

    model: Vae
    patches: Patches
    task: TrainVae

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch."""
        rows = rng.integers(len(self.patches), size=self.task.optimisation.batch)
        patch = torch.from_numpy(_turned(self.patches[rows], rng)[:, None])
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


@dataclass
class TripletObjective:
    """An encoder, the triplet loss on labels to learn from, and the held-out loss that stops it.

    The best weights by held-out loss are kept, those before the first step among them.
    """

    model: Encoder
    patches: Patches
    split: LabelSplit
    task: TuneEncoder
    seed: int
    best_loss: float = float("inf")
    best_iteration: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    evaluations_since: int = 0

    def __post_init__(self) -> None:
        self._look(0)

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch, and how many triplets have the right order."""
        triplets = draw_triplets(self.split.learn, self.task.optimisation.batch, rng)
        parts = [self.model(self._batch(rows, rng)) for rows in triplets]
        anchor, positive, negative = parts
        right = ((anchor - positive).norm(dim=1) < (anchor - negative).norm(dim=1)).detach()
        return embedding_loss(*parts), {
            "accuracy": float(right.to(torch.float32).mean()),
            "held_out_loss": self.best_loss if self.split.can_stop_early else float("nan"),
        }

    def finished(self, iteration: int) -> bool:
        """Return whether the held-out loss has not improved for as long as the patience."""
        if not self.split.can_stop_early or iteration == 0 or iteration % EVALUATE_EVERY:
            return False
        self._look(iteration)
        return self.evaluations_since >= self.task.patience

    def held_out_loss(self) -> float:
        """Return the loss of fixed triplets with held-out anchors; NaN where there are none."""
        if not self.split.can_stop_early:
            return float("nan")
        rng = np.random.default_rng(self.seed)
        triplets = draw_triplets(
            self.split.held_out, HELD_OUT_TRIPLETS, rng, others=self.split.learn
        )
        rows = np.unique(np.concatenate(triplets))
        embeddings = torch.from_numpy(evaluate(self.model, self.patches[rows][:, None]))
        a, p, n = (embeddings[np.searchsorted(rows, part)] for part in triplets)
        return float(embedding_loss(a, p, n))

    def keep_best(self) -> None:
        """Put the best weights back, where there was a way to tell."""
        if self.split.can_stop_early:
            self.model.load_state_dict(self.best_weights)

    def scalars(self) -> Scalars:
        """Return nothing: tuning is not resumed."""
        return {}

    def restore(self, scalars: Scalars) -> None:
        """Take nothing back."""

    def _look(self, iteration: int) -> None:
        loss = self.held_out_loss()
        self.evaluations_since += 1
        if loss < self.best_loss:
            self.best_loss, self.best_iteration = loss, iteration
            self.best_weights = copy.deepcopy(self.model.state_dict())
            self.evaluations_since = 0

    def _batch(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(_turned(self.patches[rows], rng)[:, None])


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
    encoder = Encoder(config)
    encoder.load_state_dict(model_weights(weights))
    objective = TripletObjective(encoder, patches, split, task, spec.seed)
    untuned = objective.best_loss
    progress = work.descend(objective, task.optimisation, resumable=False)
    objective.keep_best()
    progress = _tuning_progress(progress, objective, untuned)
    description = f"Encoder of {config.stream} patches tuned on {len(judgements)} verdicts."
    return _publish(work, encoder, config, description, progress, patches, parent)


def _tuning_progress(progress: Progress, tuned: TripletObjective, untuned: float) -> Progress:
    if not tuned.split.can_stop_early:
        message = "tuned on all labels; too few to hold any out"
        return replace(progress, message=message)
    metrics = {
        **progress.metrics,
        "held_out_loss": tuned.best_loss,
        "held_out_loss_untuned": untuned,
        "best_iteration": float(tuned.best_iteration),
    }
    message = "tuned" if tuned.best_iteration else "tuning did not help; the encoder is unchanged"
    return replace(progress, metrics=metrics, message=message)


def _judged_patches(store: ObjectStore, judgements: Sequence[Judgement], stream: str) -> Patches:
    """Return the patches of judged candidates in their order; they are sorted by set."""
    parts = []
    for _, group in groupby(judgements, key=lambda judged: judged.candidates.folder):
        judged = list(group)
        rows = np.array([each.candidate for each in judged], dtype=np.int64)
        parts.append(read_patches(store, judged[0].candidates, stream, rows))
    return cast(Patches, np.concatenate(parts))


def _turned(patches: Patches, rng: np.random.Generator) -> Patches:
    """Flip a batch (n, y, x): aligned patches keep their axis, so there are no quarter turns."""
    flips = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
    return cast(Patches, np.ascontiguousarray(np.flip(patches, flips)))


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
