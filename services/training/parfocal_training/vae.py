"""Encoders of patches: a 2D variational auto-encoder whose mean is the feature.

After the feature extractors of Lin et al. (ECCV 2020): k stride-2 convolutions, two linear heads,
and a mirrored decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from parfocal_runtime.errors import InvalidInput

NORM_GROUPS = 4


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """Shape of a variational auto-encoder.

    Attributes:
        stream: `image` reads uint8 pictures, `mask` int8 masks: 0 background, 1 object, or 1 and
            -1 for its two sides.
        side: Side of a patch in pixels, divisible by 2 to the number of widths.
        latent: Length of the feature.
        widths: Channels of each stride-2 convolution, each a multiple of 4.

    Raises:
        InvalidInput: If the side does not divide (`ERROR_REASON_INVALID_FIELD`).
    """

    stream: str
    side: int = 64
    latent: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 64)

    def __post_init__(self) -> None:
        if self.side % 2 ** len(self.widths):
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"a side of {self.side} cannot be halved {len(self.widths)} times",
                field="patch_side",
                value=self.side,
            )


class Encoder(nn.Module):
    """Map patches (n, 1, side, side), uint8 or int8, to latent means (n, latent)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.stream = config.stream
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *config.widths), config.widths, strict=False):
            layers += _layer(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        bottom = config.side // 2 ** len(config.widths)
        self.mean = nn.Linear(config.widths[-1] * bottom**2, config.latent)

    def forward(self, patch: Tensor) -> Tensor:
        """Return the latent means."""
        return cast(Tensor, self.mean(self.features(patch)))

    def features(self, patch: Tensor) -> Tensor:
        """Return what the heads read, (n, features)."""
        pixels = normalised(patch, self.stream).to(self.mean.weight.dtype)
        return cast(Tensor, self.layers(pixels))


class Vae(nn.Module):
    """An encoder with its variance head and decoder."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        bottom = config.side // 2 ** len(config.widths)
        size = config.widths[-1] * bottom**2
        self.log_variance = nn.Linear(size, config.latent)
        layers: list[nn.Module] = [
            nn.Linear(config.latent, size),
            nn.Unflatten(1, (config.widths[-1], bottom, bottom)),
        ]
        mirrored = config.widths[::-1]
        for inputs, outputs in zip(mirrored, (*mirrored[1:], mirrored[-1]), strict=True):
            layers += _layer(
                nn.ConvTranspose2d(
                    inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
                )
            )
        self.decoder = nn.Sequential(
            *layers, nn.Conv2d(config.widths[0], 1, 3, padding=1), nn.Tanh()
        )

    def forward(self, patch: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction in [-1, 1], means and log-variances.

        Args:
            patch: (n, 1, side, side), uint8 or int8.
            noise: Standard normal, (n, latent).
        """
        features = self.encoder.features(patch)
        mean = cast(Tensor, self.encoder.mean(features))
        log_variance = cast(Tensor, self.log_variance(features)).clamp(-20, 10)
        latent = mean + noise * torch.exp(0.5 * log_variance)
        return cast(Tensor, self.decoder(latent)), mean, log_variance


def normalised(patch: Tensor, stream: str) -> Tensor:
    """Return patches as float32 in [-1, 1]: pictures centred, masks as they are."""
    if stream == "image":
        return (patch.to(torch.float32) / 255.0 - 0.5) / 0.5
    return patch.to(torch.float32)


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    norm = nn.GroupNorm(NORM_GROUPS, convolution.out_channels)
    return [convolution, norm, nn.SiLU()]
