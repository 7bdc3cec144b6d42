"""The spatial index of an annotation layer: levels of grids, each with a share of the boxes.

A viewer that looks from afar loads the first level, and finer ones as it comes nearer; at every
level it sees an even sample. Described in Neuroglancer's precomputed annotation format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LIMIT = 5000
"""Boxes in a cell at most."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Cell = tuple[int, int, int]


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        grid: Cells along x, y, z.
        chunk: Size of a cell along x, y, z, in voxels.
        limit: Boxes in a cell at most.
        cells: By cell that is not empty: rows of its boxes, in random order.
    """

    grid: tuple[int, ...]
    chunk: tuple[float, ...]
    limit: int
    cells: dict[Cell, Integers]


def spatial_index(
    corners: Floats, extent: Floats, *, voxel: Floats, limit: int = LIMIT
) -> list[Level]:
    """Return the levels, coarsest first; each box is in exactly one, in all cells it touches.

    Args:
        corners: (N, 2, 3) boxes, first and last corner (x, y, z).
        extent: (3,) the image's size, in voxels.
        voxel: (3,) size of a voxel, so that cells become as cubic as they can.
        limit: Boxes in a cell at most.
    """
    # Each box draws once; a level takes the lowest draws that are left, as many as fit.
    draws = np.random.default_rng(0).random(len(corners))
    remaining = np.argsort(draws)
    grid = np.ones(3, np.int64)
    levels: list[Level] = []
    while len(remaining):
        chunk = extent / grid
        row, cell = _touched(corners[remaining], chunk, grid)
        fitting = _fitting(row, cell, limit=limit)
        taken = row < fitting
        cells = _by_cell(remaining[row[taken]], cell[taken], grid)
        levels.append(Level(tuple(grid.tolist()), tuple(chunk.tolist()), limit, cells))
        remaining = remaining[fitting:]
        grid = _finer(grid, chunk, voxel)
    return levels


def _touched(corners: Floats, chunk: Floats, grid: Integers) -> tuple[Integers, Integers]:
    """Return each pair of a box and a cell that it touches, by box."""
    low = np.clip(np.floor(corners[:, 0] / chunk), 0, grid - 1).astype(np.int64)
    high = np.clip(np.ceil(corners[:, 1] / chunk), low + 1, grid).astype(np.int64)
    spans = high - low
    counts = spans.prod(axis=1)
    row = np.repeat(np.arange(len(corners)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = []
    for axis in range(3):
        place, step = np.divmod(place, spans[row, axis])
        index.append(low[row, axis] + step)
    return row, np.ravel_multi_index(index, grid.tolist()).astype(np.int64)


def _fitting(row: Integers, cell: Integers, *, limit: int) -> int:
    """Return how many boxes can be taken, in order, until a cell would have over `limit`."""
    order = np.lexsort((row, cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    beyond = row[order][place >= limit]
    return int(beyond.min()) if len(beyond) else int(row.max()) + 1


def _by_cell(rows: Integers, cell: Integers, grid: Integers) -> dict[Cell, Integers]:
    order = np.argsort(cell, kind="stable")
    keys, starts = np.unique(cell[order], return_index=True)
    x, y, z = np.unravel_index(keys, grid.tolist())
    members = np.split(rows[order], starts[1:])
    return dict(zip(zip(x.tolist(), y.tolist(), z.tolist(), strict=True), members, strict=True))


def _finer(grid: Integers, chunk: Floats, voxel: Floats) -> Integers:
    """Return the next grid: the long sides of cells are halved, none to less than a voxel."""
    size = np.where(chunk >= 2, chunk * voxel, 0.0)
    halved = (size > 0) & (size > size.max() / np.sqrt(2))
    return grid * np.where(halved, 2, 1)
