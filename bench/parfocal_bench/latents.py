"""What a variational auto-encoder makes of pictures in colour, without any label. Needs torch."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parfocal_bench.recipes import Autoencoder


def latents(images: Tensor, config: Autoencoder, *, seed: int) -> NDArray[np.float32]:
    """Train an auto-encoder on pictures and return their latent means (N, latent).

    Args:
        images: (N, C, H, W) float32 in [-2, 2], on the device to work on.
        config: The auto-encoder.
        seed: Decides weights, batches and noise.
    """
    torch.manual_seed(seed)
    network = _Vae(config, channels=images.shape[1], side=images.shape[2]).to(images.device)
    rng = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate)
    network.train()
    for _ in range(config.epochs):
        order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        for rows in torch.split(order, config.batch)[: max(1, len(images) // config.batch)]:
            drawn = torch.randn((len(rows), config.latent), generator=noise).to(images.device)
            loss = network.loss(images[rows] / 2, drawn, config.weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
    with torch.no_grad():
        means = [network.mean(network.encoder(part / 2)) for part in torch.split(images, 256)]
    return cast(NDArray[np.float32], torch.cat(means).cpu().numpy())


class _Vae(nn.Module):
    def __init__(self, config: Autoencoder, *, channels: int, side: int) -> None:
        super().__init__()
        widths, bottom = config.widths, side // 2 ** len(config.widths)
        size = widths[-1] * bottom**2
        encoder: list[nn.Module] = []
        for inputs, outputs in zip((channels, *widths), widths, strict=False):
            encoder += _layer(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.mean = nn.Linear(size, config.latent)
        self.log_variance = nn.Linear(size, config.latent)
        decoder: list[nn.Module] = [
            nn.Linear(config.latent, size),
            nn.Unflatten(1, (widths[-1], bottom, bottom)),
        ]
        mirrored = widths[::-1]
        for inputs, outputs in zip(mirrored, (*mirrored[1:], mirrored[-1]), strict=True):
            doubled = nn.ConvTranspose2d(
                inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
            )
            decoder += _layer(doubled)
        last = nn.Conv2d(widths[0], channels, 3, padding=1)
        self.decoder = nn.Sequential(*decoder, last, nn.Tanh())

    def loss(self, images: Tensor, noise: Tensor, weight: float) -> Tensor:
        """Return the mean absolute error plus the weighted divergence, images in [-1, 1]."""
        found = self.encoder(images)
        mean, log_variance = self.mean(found), self.log_variance(found).clamp(-20, 10)
        again = self.decoder(mean + noise * torch.exp(0.5 * log_variance))
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return cast(Tensor, (again - images).abs().mean() + weight * divergence)


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ELU()]
