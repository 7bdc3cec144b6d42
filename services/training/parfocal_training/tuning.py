"""Tuning an encoder on verdicts, and whether that helps.

A few dozen labels are memorised within some hundred steps, so that the loss on them says nothing.
A first pass learns from part of them and looks how well the held-out rest comes to lie. Only if it
lies better than before, a second pass learns from all of them; else the encoder stays as it is.
Stopping where the held-out labels lie best is worse: so few of them mostly show noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parfocal_training.export import evaluate
from parfocal_training.fit import Objective
from parfocal_training.losses import embedding_loss
from parfocal_training.progress import Progress, Scalars
from parfocal_training.spec import TuneEncoder
from parfocal_training.triplet import LabelSplit, Rows, draw_triplets
from parfocal_training.vae import Encoder

Patches = npt.NDArray[np.uint8] | npt.NDArray[np.int8]

EVALUATE_EVERY = 5
HELD_OUT_TRIPLETS = 512
LAST_LOOKS = 5


@dataclass
class HeldOut:
    """How well held-out labels lie among those learned from, looked at every few steps.

    The measure is the share of triplets in the right order, which unlike the loss does not change
    with the scale of the embedding.

    Attributes:
        patches: Patches of all labels, (n, side, side).
        split: Which are held out.
        seed: Seed of the triplets, the same at each look.
        curve: The measure at each look, the first before any step.
    """

    patches: Patches
    split: LabelSplit
    seed: int
    curve: list[float] = field(default_factory=list)

    def look(self, model: Encoder) -> None:
        """Measure `model`."""
        rng = np.random.default_rng(self.seed)
        triplets = draw_triplets(
            self.split.held_out, HELD_OUT_TRIPLETS, rng, others=self.split.learn
        )
        rows = np.unique(np.concatenate(triplets))
        embeddings = torch.from_numpy(evaluate(model, self.patches[rows][:, None]))
        a, p, n = (embeddings[np.searchsorted(rows, part)] for part in triplets)
        self.curve.append(ordered_share(a, p, n))

    @property
    def untuned(self) -> float:
        """The measure before any step."""
        return self.curve[0]

    @property
    def tuned(self) -> float:
        """The measure at the end, as the mean of the last looks."""
        return float(np.mean(self.curve[1:][-LAST_LOOKS:] or self.curve))


@dataclass
class TripletObjective:
    """An encoder and the triplet loss on labels of two classes.

    Attributes:
        model: The encoder.
        patches: Patches of all labels, (n, side, side).
        classes: Rows of the positives and of the negatives to learn from.
        batch: Triplets per step.
        unit: What distances are measured in.
        held_out: Looks on; None where nobody does.
    """

    model: Encoder
    patches: Patches
    classes: tuple[Rows, Rows]
    batch: int
    unit: float
    held_out: HeldOut | None = None

    def step(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch, and the share of its triplets in the right order."""
        triplets = draw_triplets(self.classes, self.batch, rng)
        anchor, positive, negative = (
            self.model(torch.from_numpy(turned(self.patches[rows], rng)[:, None])) / self.unit
            for rows in triplets
        )
        right = ordered_share(anchor.detach(), positive.detach(), negative.detach())
        return embedding_loss(anchor, positive, negative), {"accuracy": right}

    def finished(self, iteration: int) -> bool:
        """Return False: only the limits end it."""
        if self.held_out is not None and iteration % EVALUATE_EVERY == 0:
            self.held_out.look(self.model)
        return False

    def scalars(self) -> Scalars:
        """Return nothing: tuning is not resumed."""
        return {}

    def restore(self, scalars: Scalars) -> None:
        """Take nothing back."""


def tune(
    fresh: Callable[[], Encoder],
    patches: Patches,
    split: LabelSplit,
    task: TuneEncoder,
    *,
    seed: int,
    descend: Callable[[Objective], Progress],
) -> tuple[Encoder, Progress]:
    """Return the tuned encoder, and how it went.

    Args:
        fresh: Gives the encoder to start from.
        patches: Patches of all labels, (n, side, side).
        split: Their classes, and which to hold out.
        task: How.
        seed: Seed of the held-out triplets.
        descend: Trains an objective to its end.
    """
    batch = task.optimisation.batch
    everything = split.all
    unit = mean_distance(fresh(), patches, everything, seed=seed)
    learn_all = TripletObjective(fresh(), patches, everything, batch, unit)
    if not split.can_be_checked:
        progress = descend(learn_all)
        return learn_all.model, replace(
            progress, message="tuned on all labels; too few to hold any out"
        )
    held_out = HeldOut(patches, split, seed)
    progress = descend(TripletObjective(fresh(), patches, split.learn, batch, unit, held_out))
    helps = held_out.tuned > held_out.untuned
    if helps:
        progress = descend(learn_all)
    metrics = {
        **progress.metrics,
        "held_out_accuracy": held_out.tuned,
        "held_out_accuracy_untuned": held_out.untuned,
    }
    message = "tuned" if helps else "tuning did not help held-out labels; the encoder is unchanged"
    return learn_all.model, replace(progress, metrics=metrics, message=message)


def mean_distance(
    model: Encoder, patches: Patches, classes: tuple[Rows, Rows], *, seed: int
) -> float:
    """Return the mean distance of embeddings with unequal verdicts.

    Measured in much smaller units, the quickest way down the loss is to make all embeddings one.
    """
    anchors, _, others = draw_triplets(classes, HELD_OUT_TRIPLETS, np.random.default_rng(seed))
    embeddings = torch.from_numpy(evaluate(model, patches[:, None]))
    distances = (embeddings[anchors] - embeddings[others]).norm(dim=1)
    return max(float(distances.mean()), 1e-6)


def ordered_share(anchor: Tensor, positive: Tensor, negative: Tensor) -> float:
    """Return the share of triplets of embeddings, each (n, d), with the positive nearer."""
    nearer = (anchor - positive).norm(dim=1) < (anchor - negative).norm(dim=1)
    return float(nearer.to(torch.float32).mean())


def turned(patches: Patches, rng: np.random.Generator) -> Patches:
    """Flip a batch (n, y, x): aligned patches keep their axis, so there are no quarter turns."""
    flips = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
    return cast(Patches, np.ascontiguousarray(np.flip(patches, flips)))
