"""The crowd of neurites: a packing of discs that drift through the sections.

Each section is a power diagram of the discs, bent by smooth noise, so that large profiles stay
round and the small ones fill what is left between them, as in neuropil.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from parfocal_demo.volume.noise import Field, drifting_noise, smooth_noise

Labels = NDArray[np.int32]

_MEDIAN_RADIUS_NM = 88.0
_RADIUS_SPREAD = 0.72
_RADIUS_RANGE_NM = (42.0, 720.0)
_GLIA_STRANDS_PER_SQUARE_MICROMETRE = 0.13
_GLIA_RADIUS_NM = 85.0
_MERGED_SHARE = 0.3


@dataclass(frozen=True)
class Neurites:
    """Discs and the cells that they make up.

    Attributes:
        position: (N, 2) yx of each disc in the middle section, pixels.
        velocity: (N, 2) yx drift, pixels per section.
        radius: (N,) pixels.
        cell: (N,) cell of each disc; several discs may make one cell.
        glia: (C,) whether a cell is a dark glial process.
    """

    position: Field
    velocity: Field
    radius: Field
    cell: Labels
    glia: NDArray[np.bool_]


@dataclass(frozen=True)
class Tissue:
    """Neurites cut into sections.

    Attributes:
        cells: Cell of each voxel, int32 (z, y, x).
        wall: Distance to the nearest cell wall, pixels, float32 (z, y, x).
        drift: (C, 2) yx drift of each cell, pixels per section.
        glia: (C,) whether a cell is a dark glial process.
        pixel_nm: Pixel size.
    """

    cells: Labels
    wall: Field
    drift: Field
    glia: NDArray[np.bool_]
    pixel_nm: float


def pack_neurites(
    rng: np.random.Generator, extent: tuple[int, int], *, pixel_nm: float
) -> Neurites:
    """Pack discs of lognormal size into a section of `extent` (rows, columns)."""
    strands = _glial_strands(rng, extent, pixel_nm=pixel_nm)
    glial = np.concatenate(strands)
    discs = _throw_discs(rng, extent, around=glial, pixel_nm=pixel_nm)
    position, radius = discs[:, :2], discs[:, 2]
    cell = np.arange(len(discs), dtype=np.int32)
    start = 0
    for strand in strands:
        cell[start : start + len(strand)] = start
        start += len(strand)
    _merge_neighbours(rng, position, radius, cell, first=len(glial))
    glia = np.arange(len(discs)) < len(glial)
    return Neurites(position, _drift(rng, extent, position, pixel_nm=pixel_nm), radius, cell, glia)


def cut_sections(
    neurites: Neurites, rng: np.random.Generator, shape: tuple[int, int, int], *, pixel_nm: float
) -> Tissue:
    """Cut the crowd into `shape` (z, y, x) sections."""
    depth, height, width = shape
    coarse = [drifting_noise(rng, shape, scale=240 / pixel_nm, sections=3.0) for _ in range(2)]
    fine = [drifting_noise(rng, shape, scale=75 / pixel_nm, sections=1.6) for _ in range(2)]
    grid = np.indices((height, width), dtype=np.float32)
    labels = np.empty(shape, np.int32)
    wall = np.empty(shape, np.float32)
    pulse = rng.uniform(0, 2 * np.pi, len(neurites.radius))
    for z in range(depth):
        bend = [
            coarse[axis][z] * 70 / pixel_nm + fine[axis][z] * 22 / pixel_nm for axis in range(2)
        ]
        points = np.stack([grid[0] + bend[0], grid[1] + bend[1]], axis=-1)
        labels[z] = _power_cells(neurites, z - depth / 2, pulse, points)
        wall[z] = _wall_distance(labels[z])
    return Tissue(labels, wall, _cell_drift(neurites), neurites.glia, pixel_nm)


def _cell_drift(neurites: Neurites) -> Field:
    """Return the drift of each cell: that of its largest disc."""
    drift = np.zeros_like(neurites.velocity)
    order = np.argsort(neurites.radius, kind="stable")
    drift[neurites.cell[order]] = neurites.velocity[order]
    return drift


def _throw_discs(
    rng: np.random.Generator, extent: tuple[int, int], *, around: Field, pixel_nm: float
) -> Field:
    """Throw discs, large ones first, into what the discs `around` leave free."""
    area = float(extent[0] * extent[1]) - float((np.pi * around[:, 2] ** 2).sum()) / 2
    radii: list[float] = []
    covered = 0.0
    while covered < 1.02 * area:
        nanometres = _MEDIAN_RADIUS_NM * np.exp(_RADIUS_SPREAD * rng.standard_normal())
        radii.append(float(np.clip(nanometres, *_RADIUS_RANGE_NM)) / pixel_nm)
        covered += np.pi * radii[-1] ** 2
    placed = [tuple(disc) for disc in around]
    for radius in sorted(radii, reverse=True):
        spot = _free_spot(rng, extent, np.array(placed).reshape(-1, 3), radius)
        if spot is not None:
            placed.append((*spot, radius))
    return np.array(placed, dtype=np.float32)


def _merge_neighbours(
    rng: np.random.Generator, position: Field, radius: Field, cell: Labels, *, first: int
) -> None:
    """Make some neighbouring discs one cell, so that profiles bend and branch."""
    near = np.asarray(cKDTree(position[first:]).query(position[first:], k=2)[1])
    for disc in np.flatnonzero(rng.random(len(near)) < _MERGED_SHARE):
        cell[first + disc] = cell[first + near[disc, 1]]


def _free_spot(
    rng: np.random.Generator, extent: tuple[int, int], placed: NDArray[np.float64], radius: float
) -> tuple[float, float] | None:
    tries = rng.uniform((0, 0), extent, (48, 2))
    if not len(placed):
        return tuple(tries[0])
    gap = np.linalg.norm(tries[:, None] - placed[None, :, :2], axis=2) - placed[None, :, 2]
    room = gap.min(axis=1) - radius
    best = int(room.argmax())
    return tuple(tries[best]) if room[best] > -0.35 * radius else None


def _drift(
    rng: np.random.Generator, extent: tuple[int, int], position: Field, *, pixel_nm: float
) -> Field:
    """Neighbours run together, so the packing survives from the first section to the last."""
    rows, columns = np.clip(position.astype(int), 0, np.array(extent) - 1).T
    flow = [smooth_noise(rng, extent, scale=1300 / pixel_nm)[rows, columns] for _ in range(2)]
    own = rng.standard_normal((len(position), 2))
    return np.asarray(np.stack(flow, axis=1) * 20 / pixel_nm + own * 6 / pixel_nm, np.float32)


def _glial_strands(
    rng: np.random.Generator, extent: tuple[int, int], *, pixel_nm: float
) -> list[Field]:
    """Return wandering rows of discs (y, x, radius), each one glial process."""
    area = extent[0] * extent[1] * (pixel_nm / 1000) ** 2
    strands = []
    for _ in range(max(1, round(area * _GLIA_STRANDS_PER_SQUARE_MICROMETRE))):
        steps = int(rng.uniform(1200, 4500) / 60)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.standard_normal(steps) * 0.17)
        stride = np.stack([np.sin(heading), np.cos(heading)], axis=1) * 60 / pixel_nm
        path = rng.uniform((0, 0), extent) + np.cumsum(stride, axis=0)
        width = ndimage.gaussian_filter1d(rng.standard_normal(steps), 4, mode="nearest")
        girth = np.exp(1.5 * width) * np.hanning(steps + 2)[1:-1] ** 0.3
        radius = _GLIA_RADIUS_NM / pixel_nm * girth
        strands.append(np.column_stack([path, radius]).astype(np.float32))
    return strands


def _power_cells(neurites: Neurites, z: float, pulse: NDArray[np.float64], points: Field) -> Labels:
    """Nearest disc by power distance, found as plain distance one dimension up."""
    radius = neurites.radius * (1 + 0.12 * np.sin(pulse + z / 4))
    weight = radius**2
    lift = np.sqrt(weight.max() - weight)
    tree = cKDTree(np.column_stack([neurites.position + neurites.velocity * z, lift]))
    flat = points.reshape(-1, 2)
    _, nearest = tree.query(np.column_stack([flat, np.zeros(len(flat), np.float32)]))
    return np.asarray(neurites.cell[nearest].reshape(points.shape[:2]), np.int32)


def _wall_distance(labels: Labels) -> Field:
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    distance = ndimage.distance_transform_edt(~edge)
    return ndimage.gaussian_filter(np.asarray(distance, np.float32), 0.8)
