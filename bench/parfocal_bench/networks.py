"""The networks of simulated campaigns, their training and what they say. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parfocal import InvalidRequestError
from parfocal_bench.cells import arrays_file, write_whole
from parfocal_bench.packs import Images, Labels

Floats = NDArray[np.float32]
Augment = Callable[[Tensor, np.random.Generator], Tensor]

_AT_A_TIME = 256


class SmallNet(nn.Module):
    """Four convolutions; the largest and the mean response of each channel are its features."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, 12, stride=2),
            *_convolution(12, 24),
            nn.MaxPool2d(2),
            *_convolution(24, 48),
            nn.MaxPool2d(2),
            *_convolution(48, 48),
        )
        self.head = nn.Linear(96, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 96) features of images (N, C, H, W)."""
        found = self.body(images)
        return torch.cat([found.amax(dim=(2, 3)), found.mean(dim=(2, 3))], dim=1)


class SmallResNet(nn.Module):
    """A residual network of three stages with one block each, of 16, 32 and 64 channels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, 16), _Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2)
        )
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 64) features of images (N, C, H, W)."""
        return cast(Tensor, self.body(images).mean(dim=(2, 3)))


class ResNet18(nn.Module):
    """The residual network of eighteen layers in its form for pictures of 32 x 32.

    The first convolution is of 3 x 3 and nothing is pooled after it; four stages of two blocks
    have 64, 128, 256 and 512 channels.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        blocks = [
            block
            for inputs, outputs, stride in stages
            for block in (
                _Block(inputs, outputs, stride, normed=True),
                _Block(outputs, outputs, 1),
            )
        ]
        self.body = nn.Sequential(*_convolution(channels, 64), *blocks)
        self.head = nn.Linear(512, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 512) features of images (N, C, H, W)."""
        return cast(Tensor, self.body(images).mean(dim=(2, 3)))


Network = SmallNet | SmallResNet | ResNet18

NETWORKS: Mapping[str, type[Network]] = {
    "small": SmallNet,
    "resnet": SmallResNet,
    "resnet18": ResNet18,
}
"""The networks by name."""


def as_tensor(images: Images) -> Tensor:
    """Return (N, H, W) or (N, H, W, 3) uint8 as (N, C, H, W) float32 around 0."""
    planes = images[..., None] if images.ndim == 3 else images
    scaled = planes.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray((scaled - 0.5) * 4))


def new_network(name: str, *, channels: int, classes: int, seed: int) -> Network:
    """Return an untrained network; equal seeds give equal weights."""
    torch.manual_seed(seed)
    return NETWORKS[name](channels, classes)


def teach(
    network: Network,
    images: Tensor,
    labels: Labels,
    *,
    steps: int,
    rate: float,
    batch: int,
    augment: Augment,
    rng: np.random.Generator,
) -> None:
    """Take optimisation steps of AdamW under one cycle of the learning rate.

    Args:
        network: Is changed.
        images: (N, C, H, W).
        labels: (N,) classes.
        steps: Steps.
        rate: Greatest learning rate.
        batch: Images a step, drawn with replacement.
        augment: Changes a batch of images as their class allows.
        rng: Source of batches and changes.
    """
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps)
    targets = torch.from_numpy(labels).to(images.device)
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(len(labels), size=batch)).to(images.device)
        logits = network.head(network.features(augment(images[rows], rng)))
        loss = nn.functional.cross_entropy(logits, targets[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cycle.step()


def predict(network: Network, images: Tensor) -> tuple[Floats, Floats]:
    """Return class probabilities (N, classes) and features (N, d)."""
    network.eval()
    found = []
    with torch.no_grad():
        for part in torch.split(images, _AT_A_TIME):
            features = network.features(part)
            found.append((network.head(features).softmax(dim=1), features))
    probabilities, kept = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return probabilities, kept


def predict_views(network: Network, images: Tensor) -> Floats:
    """Return class probabilities (N, 8, classes) of each image turned and mirrored in all ways."""
    views = [view for turn in range(4) for view in _both(torch.rot90(images, turn, (2, 3)))]
    return np.stack([predict(network, view)[0] for view in views], axis=1)


def turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn and mirror a batch: one way for all, which batch statistics do not mind."""
    images = torch.rot90(images, int(rng.integers(4)), (2, 3))
    return _both(images)[int(rng.integers(2))]


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror half of a batch and shift it by up to four pixels, the edge filled with grey."""
    mirrored = torch.from_numpy(rng.integers(2, size=len(images)).astype(np.bool_))
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    height, width = images.shape[2:]
    down, across = rng.integers(9, size=2)
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    return padded[:, :, down : down + height, across : across + width]


def weights(network: Network) -> dict[str, NDArray[np.generic]]:
    """Return a copy of the weights as arrays."""
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}


def restore(network: Network, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Put weights back."""
    network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})


def taught_once(path: Path, network: Network, teach: Callable[[], int]) -> int:
    """Teach a network, or put back what the same lesson made of it before; return the steps."""
    if not path.exists():
        steps = teach()
        arrays = {"steps taken": np.array(steps), **weights(network)}
        write_whole(path, arrays_file(arrays))
    with np.load(path) as stored:
        arrays = dict(stored)
    steps = int(arrays.pop("steps taken"))
    restore(network, arrays)
    return steps


def by_channel(network: Network, device: str) -> None:
    """Move a network to a device, the channels of each pixel side by side, as cards like them."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def require(device: str) -> None:
    """Refuse a device that torch does not have here.

    Raises:
        InvalidRequestError: If there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidRequestError(f"torch finds no graphics card here for the device {device!r}")


@contextmanager
def repeatable() -> Iterator[None]:
    """Take sums in one order.

    That is one thread, and on a graphics card no convolution that adds up as its threads finish.
    """
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic


def _both(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, images.flip(3)


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, *, normed: bool = False) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_convolution(inputs, outputs, stride=stride), *_convolution(outputs, outputs)[:2]
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            if normed:
                self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.main(images) + self.shortcut(images))
