"""Features of pictures that need no training: edges by direction, and shades.

N. Dalal, B. Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_bench.packs import Images

Features = NDArray[np.float32]

DIRECTIONS = 9
_CLIP = 0.2
_AT_A_TIME = 512


@dataclass(frozen=True)
class Description:
    """What of a picture is told.

    Attributes:
        cell: Side of a cell, pixels.
        shades: Quantiles of brightness, from the darkest pixel to the brightest.
    """

    cell: int = 8
    shades: int = 16


def describe(images: Images, description: Description) -> Features:
    """Return what is known of pictures without training: `hog`, shades and, in colour, tints.

    Args:
        images: (N, H, W) or (N, H, W, 3) uint8.
        description: What of them is told.

    Returns:
        (N, D) float32, each column of unit variance at most.
    """
    parts = [
        np.concatenate(_parts(_scaled(images[start : start + _AT_A_TIME]), description), axis=1)
        for start in range(0, len(images), _AT_A_TIME)
    ]
    return np.concatenate(parts)


def hog(images: Features, cell: int) -> Features:
    """Return histograms of unsigned gradient directions of cells, in overlapping 2 x 2 blocks.

    Args:
        images: (N, H, W) float32; what does not fill a cell at the far edges is left out.
        cell: Side of a cell, pixels.

    Returns:
        (N, (H // cell - 1) * (W // cell - 1) * 36) float32.
    """
    down, across = np.gradient(images, axis=(1, 2))
    size = np.hypot(down, across)
    place = (np.arctan2(down, across) % np.pi) / np.pi * DIRECTIONS
    low = np.floor(place).astype(np.intp)
    toward_next = place - low
    rows, columns = images.shape[1] // cell, images.shape[2] // cell
    cells = np.empty((len(images), rows, columns, DIRECTIONS), np.float32)
    for direction in range(DIRECTIONS):
        vote = np.where(low % DIRECTIONS == direction, 1 - toward_next, 0)
        vote += np.where((low + 1) % DIRECTIONS == direction, toward_next, 0)
        voted = (size * vote)[:, : rows * cell, : columns * cell]
        cells[..., direction] = voted.reshape(-1, rows, cell, columns, cell).sum(axis=(2, 4))
    corners = [cells[:, i : rows - 1 + i, j : columns - 1 + j] for i in (0, 1) for j in (0, 1)]
    blocks = _unit(np.minimum(_unit(np.concatenate(corners, axis=3)), _CLIP))
    return blocks.reshape(len(images), -1)


def _scaled(images: Images) -> Features:
    return np.asarray(images / np.float32(255), np.float32)


def _parts(images: Features, description: Description) -> list[Features]:
    grey = images if images.ndim == 3 else images.mean(axis=3)
    steps = np.linspace(0, 1, description.shades)
    shades = np.quantile(grey.reshape(len(grey), -1), steps, axis=1).T
    parts = [hog(grey, description.cell), shades.astype(np.float32)]
    if images.ndim == 4:
        parts.append(_tints(images, description.cell))
    return parts


def _tints(images: Features, cell: int) -> Features:
    """Mean colour of each cell."""
    rows, columns = images.shape[1] // cell, images.shape[2] // cell
    kept = images[:, : rows * cell, : columns * cell]
    cells = kept.reshape(len(images), rows, cell, columns, cell, -1).mean(axis=(2, 4))
    return np.asarray(cells.reshape(len(images), -1), np.float32)


def _unit(blocks: Features) -> Features:
    length = np.sqrt(np.sum(np.square(blocks), axis=-1, keepdims=True) + 1e-10)
    return np.asarray(blocks / length, np.float32)
