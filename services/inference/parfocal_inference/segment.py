"""Probability maps, block by block: the result does not depend on the blocks.

A block is the blend of exactly those windows of the image's grid that touch it. Each voxel adds
up its windows in the order of the grid, whatever block it lies in, so maps made with different
blocks are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from parfocal_inference.blending import Blend
from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.reading import Read, read_padded
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.box import Box, Triple

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Takes windows (N, 1, Z, Y, X) and returns finite probabilities of the same shape."""


def segment_block(
    read: Read,
    predict: Predict,
    *,
    grid: WindowGrid,
    box: Box,
    batch: int = 1,
    cancel: Cancellation = UNCANCELLED,
) -> npt.NDArray[np.uint8]:
    """Return the probability map of `box` as `floor(255 p)`, (z, y, x) uint8.

    Windows overlap and are blended with Gaussian weights (`blend_weight`). What a window sees
    outside the image is the image reflected at its border.

    Args:
        read: Reads the image; asked once, for the block and its halo.
        predict: Runs the model.
        grid: Windows of the image.
        box: What to predict; must lie inside the image.
        batch: Windows in one call of `predict`. Batches are filled up with empty windows, so that
            a model always sees the same shape. With more than one, equality across blocks holds
            as far as the model's result for a window does not depend on its neighbours.
        cancel: Asked between calls of `predict`.
    """
    hull = grid.hull(box)
    pixels = read_padded(read, hull, shape=grid.shape, mode="reflect")
    blend = Blend(box, grid.window)
    finished = []
    z_starts, y_starts, x_starts = grid.touching(box)
    for z, z_next in zip(z_starts, (*z_starts[1:], box.stop[0]), strict=True):
        starts = [(z, y, x) for y, x in product(y_starts, x_starts)]
        for group in _groups(starts, batch):
            cancel.check()
            windows = _cut(pixels, hull, group, window=grid.window, batch=batch)
            for start, probability in zip(group, predict(windows)[:, 0], strict=False):
                blend.add(start, probability)
        finished.append(blend.finished(z_next))
    return np.concatenate(finished)


def _groups(starts: Sequence[Triple], size: int) -> Iterator[Sequence[Triple]]:
    for first in range(0, len(starts), size):
        yield starts[first : first + size]


def _cut(
    pixels: npt.NDArray[np.uint8],
    hull: Box,
    starts: Sequence[Triple],
    *,
    window: Triple,
    batch: int,
) -> npt.NDArray[np.uint8]:
    windows = np.zeros((batch, 1, *window), np.uint8)
    for index, (z, y, x) in enumerate(starts):
        box = Box((z, y, x), (z + window[0], y + window[1], x + window[2]))
        windows[index, 0] = pixels[box.relative_to(hull.start).slices]
    return windows
