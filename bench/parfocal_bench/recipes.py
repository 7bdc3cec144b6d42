"""How the networks of the retraining protocol are trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: as Z. Lin et al., ECCV 2020, section 5.3, say where they say it.

    They give no momentum and no weight decay; those here are the usual ones.

    Attributes:
        epochs: Times that each picture is seen.
        batch: Pictures a step.
        rate: Learning rate.
        low_rate: Learning rate of the last epochs.
        low_from: Epochs before it.
        momentum: Momentum.
        decay: Weight decay.
    """

    epochs: int = 200
    batch: int = 64
    rate: float = 0.1
    low_rate: float = 0.01
    low_from: int = 160
    momentum: float = 0.9
    decay: float = 5e-4


@dataclass(frozen=True)
class Autoencoder:
    """A variational auto-encoder and its training.

    Attributes:
        latent: Length of the feature.
        widths: Channels of each convolution of stride 2; sides must divide by 2 to their number.
        epochs: Times that each picture is seen.
        batch: Pictures a step.
        rate: Learning rate of AdamW.
        weight: Weight of the divergence from the standard normal, beside the mean absolute error.
    """

    latent: int = 32
    widths: tuple[int, ...] = (32, 64, 128, 256)
    epochs: int = 100
    batch: int = 128
    rate: float = 1e-3
    weight: float = 1e-4
