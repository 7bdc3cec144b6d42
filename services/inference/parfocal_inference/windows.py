"""The grid of windows that a model looks through, and the weights that blend what it sees.

The grid is anchored to the image and never to the block that is asked for. So two blocks that
share a face look through the same windows there, and agree on every voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput

_WEIGHT_FLOOR = 1e-4
_WEIGHT_SIGMA = 0.2


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one size that cover an image (z, y, x).

    Along each axis the windows start at 0 and then every `stride` voxels; the last one is clamped
    to the border of the image. Where the image is smaller than the window there is one window,
    with the image in its middle; it reaches outside on both sides.

    Attributes:
        shape: Of the image.
        window: Of one window.
        stride: Between the starts of neighbouring windows, at most the window.

    Raises:
        InvalidInput: If a number is not positive or strides leave gaps
            (`ERROR_REASON_INVALID_FIELD`).
    """

    shape: Triple
    window: Triple
    stride: Triple

    def __post_init__(self) -> None:
        for size, window, stride in zip(self.shape, self.window, self.stride, strict=True):
            if size < 1 or not 1 <= stride <= window:
                raise InvalidInput(
                    "ERROR_REASON_INVALID_FIELD",
                    f"windows of {self.window} every {self.stride} voxels do not cover an image "
                    f"of {self.shape}",
                    field="window",
                    window=self.window,
                    stride=self.stride,
                    shape=self.shape,
                )

    @classmethod
    def overlapping(
        cls, shape: Triple, window: Triple, *, overlap: float, halo: Triple = (0, 0, 0)
    ) -> WindowGrid:
        """Return the grid whose neighbouring windows share the fraction `overlap` of their side.

        Where that is less than two halos they share two halos, so that every voxel inside the
        image lies in some window at least a halo (z, y, x) from its border. The stride is rounded
        half up and is at least one voxel.

        Raises:
            InvalidInput: If `overlap` is not in [0, 1) (`ERROR_REASON_INVALID_FIELD`).
        """
        if not 0 <= overlap < 1:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"overlap must be at least 0 and below 1, got {overlap}",
                field="overlap",
                value=overlap,
            )
        z, y, x = (
            max(1, min(math.floor(side * (1 - overlap) + 0.5), side - 2 * margin))
            for side, margin in zip(window, halo, strict=True)
        )
        return cls(shape, window, (z, y, x))

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Starts of all windows along z, y and x, ascending."""
        z, y, x = map(_axis_starts, self.shape, self.window, self.stride)
        return (z, y, x)

    def touching(self, box: Box) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Return the starts along z, y and x of exactly the windows that share a voxel with `box`.

        The windows are all combinations of the three.
        """
        z, y, x = map(_touching, self.shape, self.window, self.stride, box.start, box.stop)
        return (z, y, x)

    def hull(self, box: Box) -> Box:
        """Return the box of all windows that touch `box`; it may reach outside the image."""
        z, y, x = self.touching(box)
        return Box(
            (z[0], y[0], x[0]),
            (z[-1] + self.window[0], y[-1] + self.window[1], x[-1] + self.window[2]),
        )


@cache
def blend_weight(window: Triple) -> npt.NDArray[np.float32]:
    """Return the weight (z, y, x) of each voxel of a window in the blend.

    The weight is `1e-4 + exp(-d^2 / (2 * 0.2^2))`, with d the Euclidean norm of coordinates that
    go from -1 to 1 along each axis: the middle of a window counts, its border hardly does.
    """
    z, y, x = (_centred(side) ** 2 for side in window)
    squared = z[:, None, None] + y[None, :, None] + x[None, None, :]
    weight = (_WEIGHT_FLOOR + np.exp(-squared / (2 * _WEIGHT_SIGMA**2))).astype(np.float32)
    weight.flags.writeable = False
    return weight


def _axis_starts(size: int, window: int, stride: int) -> tuple[int, ...]:
    if size <= window:
        return (-((window - size) // 2),)
    last = size - window
    return (*range(0, last, stride), last)


def _touching(size: int, window: int, stride: int, low: int, high: int) -> tuple[int, ...]:
    """Return those of `_axis_starts` whose windows share a voxel with `low` to `high`.

    Without making all of them: what lies in the store may say that it is as long as it likes.
    """
    if size <= window:
        return _axis_starts(size, window, stride)
    last = size - window
    first = max(0, (low - window) // stride + 1) * stride
    regular = range(first, min(last, high), stride)
    return (*regular, last) if low - window < last < high else tuple(regular)


def _centred(side: int) -> npt.NDArray[np.float64]:
    return np.linspace(-1, 1, side) if side > 1 else np.zeros(1)
