"""Random training windows from labelled regions, with augmentation and rejection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Box, Triple

UInt8 = npt.NDArray[np.uint8]
Window = tuple[UInt8, UInt8, UInt8]


@dataclass(frozen=True)
class Region:
    """A piece of an image in memory, and what is known about it.

    Attributes:
        image: uint8 (z, y, x).
        target: uint8 {0, 1} of the same shape, 1 = foreground.
        valid: uint8 {0, 1} of the same shape, 1 where `target` is known.
        core: The box inside these arrays in which the known voxels lie.
    """

    image: UInt8
    target: UInt8
    valid: UInt8
    core: Box

    def padded(self, shape: Triple) -> Region:
        """Return the region grown to at least `shape`: the image mirrored, the rest not valid."""
        missing = [max(0, want - have) for want, have in zip(shape, self.image.shape, strict=True)]
        if not any(missing):
            return self
        widths = [(lack // 2, lack - lack // 2) for lack in missing]
        return Region(
            np.pad(self.image, widths, mode="symmetric"),
            np.pad(self.target, widths),
            np.pad(self.valid, widths),
            self.core.relative_to([-before for before, _ in widths]),
        )


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Refuse most windows with little foreground (rejection sampling).

    Attributes:
        threshold: A window with fewer known foreground voxels is refused ...
        probability: ... with this probability,
        trials: ... at most so many times in a row; then it is taken as it is.
    """

    threshold: int = 0
    probability: float = 0.95
    trials: int = 50


@dataclass
class SamplingStatistics:
    """Counts over the life of a sampler."""

    drawn: int = 0
    rejected: int = 0
    gave_up: int = 0


@dataclass(frozen=True)
class Batch:
    """Windows for one training step, each (n, 1, z, y, x).

    Attributes:
        image: uint8.
        target: float32 {0, 1}.
        valid: float32 {0, 1}, 1 where `target` is known.
    """

    image: UInt8
    target: npt.NDArray[np.float32]
    valid: npt.NDArray[np.float32]


@dataclass
class WindowSampler:
    """Draw windows from regions.

    Attributes:
        regions: What to draw from, each equally likely; at least as large as the window.
        window: Side lengths (z, y, x) of a window.
        rejection: What to refuse.
        slack: How far, as a share of its side, a window may reach beyond the known part.
        statistics: What was drawn so far.
    """

    regions: Sequence[Region]
    window: Triple
    rejection: Rejection = field(default_factory=Rejection)
    slack: float = 0.125
    statistics: SamplingStatistics = field(default_factory=SamplingStatistics)

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        """Return `size` windows."""
        return as_batch([self.draw(rng) for _ in range(size)])

    def draw(self, rng: np.random.Generator) -> Window:
        """Return one augmented window as image, target and valid, each (z, y, x)."""
        for _ in range(self.rejection.trials):
            window = self._cut(rng)
            if not self._is_poor(window) or rng.random() >= self.rejection.probability:
                return augment(window, rng)
            self.statistics.rejected += 1
        self.statistics.gave_up += 1
        return augment(self._cut(rng), rng)

    def _is_poor(self, window: Window) -> bool:
        _, target, valid = window
        return int((target & valid).sum()) < self.rejection.threshold

    def _cut(self, rng: np.random.Generator) -> Window:
        self.statistics.drawn += 1
        region = self.regions[int(rng.integers(len(self.regions)))]
        at = window_slices(region, self.window, slack=self.slack, rng=rng)
        return region.image[at], region.target[at], region.valid[at]


def window_slices(
    region: Region, window: Triple, *, slack: float, rng: np.random.Generator
) -> tuple[slice, slice, slice]:
    """Return where a random window lies in `region`.

    Along each axis the window lies inside the core, or the core inside the window, whichever is
    the smaller, give or take the slack.
    """
    starts = []
    for low, high, side, length in zip(
        region.core.start, region.core.stop, window, region.image.shape, strict=True
    ):
        reach = round(side * slack)
        first, last = sorted((low, high - side))
        first, last = (int(np.clip(at, 0, length - side)) for at in (first - reach, last + reach))
        starts.append(int(rng.integers(first, last + 1)))
    z, y, x = (slice(at, at + side) for at, side in zip(starts, window, strict=True))
    return z, y, x


def augment(window: Window, rng: np.random.Generator) -> Window:
    """Flip along each axis, turn square windows by quarters, and vary contrast, shift and noise.

    The image varies section by section in brightness, as sections do; it stays uint8.
    """
    image, target, valid = window
    flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
    turns = int(rng.integers(4)) if image.shape[1] == image.shape[2] else 0
    image, target, valid = (
        np.rot90(np.flip(part, flips), turns, axes=(1, 2)) for part in (image, target, valid)
    )
    return _vary_grey(image, rng), np.ascontiguousarray(target), np.ascontiguousarray(valid)


def as_batch(windows: Sequence[Window]) -> Batch:
    """Stack windows (z, y, x) into a batch."""
    image, target, valid = (np.stack(parts)[:, None] for parts in zip(*windows, strict=True))
    return Batch(image, target.astype(np.float32), valid.astype(np.float32))


def _vary_grey(image: UInt8, rng: np.random.Generator) -> UInt8:
    sections = len(image)
    contrast = rng.uniform(0.8, 1.25)
    shift = rng.uniform(-20, 20) + rng.uniform(-6, 6, (sections, 1, 1))
    noise = rng.normal(0, rng.uniform(0, 8), image.shape).astype(np.float32)
    varied = (image.astype(np.float32) - 128) * np.float32(contrast) + 128 + shift + noise
    return np.clip(varied, 0, 255).astype(np.uint8)
