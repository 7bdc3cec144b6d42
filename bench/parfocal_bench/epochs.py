"""Training by epochs of stochastic gradient descent, again and again on one set of pictures.

On a graphics card the step is recorded once and replayed: at 64 pictures of 32 x 32 the card is
otherwise idle most of the time, waiting for the next of some hundred small kernels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parfocal_bench.networks import Network
from parfocal_bench.packs import Labels
from parfocal_bench.recipes import Recipe

_PADDING = 4
_BEFORE_RECORDING = 3


class Trainer:
    """Trains a network on parts of one set of pictures, cropped and mirrored at random.

    Each picture is padded by four pixels of grey, of which a part of its size is taken, and
    mirrored in half of the cases. On a graphics card convolutions are taken in bfloat16.
    """

    def __init__(self, network: Network, images: Tensor, labels: Labels, recipe: Recipe) -> None:
        """Prepare to train.

        Args:
            network: Is changed by `train`, and before it: set its weights afterwards.
            images: (N, C, H, W) float32, on the device of the network.
            labels: (N,) classes.
            recipe: How to train.
        """
        self._network, self._recipe = network, recipe
        self._sides = tuple(images.shape[2:])
        padded = nn.functional.pad(images, (_PADDING,) * 4)
        self._padded = padded.permute(0, 2, 3, 1).contiguous()
        self._labels = torch.from_numpy(labels).to(images.device)
        self._optimiser = torch.optim.SGD(
            network.parameters(),
            lr=recipe.rate,
            momentum=recipe.momentum,
            weight_decay=recipe.decay,
        )
        self._batch = torch.zeros((recipe.batch, 4), dtype=torch.int64, device=images.device)
        self._recorded: dict[float, torch.cuda.CUDAGraph] = {}
        if images.is_cuda:
            self._recorded = self._record()

    def train(self, rows: NDArray[np.intp], rng: np.random.Generator) -> int:
        """Train on rows (n,) of the pictures from the weights as they are; return the steps.

        The permuted epochs follow each other without a gap, so that every step has a whole batch.
        """
        recipe = self._recipe
        self._network.train()
        for state in self._optimiser.state.values():
            state["momentum_buffer"].zero_()
        batches = torch.from_numpy(self._batches(rows, rng)).to(self._batch.device)
        first_low = len(batches) * recipe.low_from // recipe.epochs
        for number, batch in enumerate(batches):
            rate = recipe.rate if number < first_low else recipe.low_rate
            self._batch.copy_(batch)
            if self._recorded:
                self._recorded[rate].replay()
            else:
                self._step(rate)
        return len(batches)

    def _batches(self, rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return (steps, batch, 4): picture, offset down and across, whether it is mirrored."""
        recipe = self._recipe
        order = np.concatenate([rng.permutation(rows) for _ in range(recipe.epochs)])
        steps = len(order) // recipe.batch
        order = order[: steps * recipe.batch]
        offsets = rng.integers(2 * _PADDING + 1, size=(len(order), 2))
        mirrored = rng.integers(2, size=(len(order), 1))
        found = np.concatenate([order[:, None], offsets, mirrored], axis=1)
        return found.reshape(steps, recipe.batch, 4)

    def _step(self, rate: float) -> None:
        """Take one step on the batch."""
        row, down, across, mirrored = self._batch.unbind(1)
        height, width = (torch.arange(side, device=row.device) for side in self._sides)
        columns = torch.where(mirrored[:, None] == 1, width.flip(0), width)
        y, x = down[:, None] + height, across[:, None] + columns
        images = self._padded[row[:, None, None], y[:, :, None], x[:, None, :]]
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.zero_grad()
        with torch.autocast(row.device.type, torch.bfloat16, enabled=row.is_cuda):
            logits = self._network.head(self._network.features(images.permute(0, 3, 1, 2)))
        loss = nn.functional.cross_entropy(logits.float(), self._labels[row])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()

    def _record(self) -> dict[float, torch.cuda.CUDAGraph]:
        """Record the step at each rate; what it allocates and chooses at first comes before."""
        self._network.train()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_BEFORE_RECORDING):
                self._step(self._recipe.rate)
        torch.cuda.current_stream().wait_stream(stream)
        recorded = {}
        for rate in (self._recipe.rate, self._recipe.low_rate):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._step(rate)
            recorded[rate] = graph
        return recorded
