"""Organelles as solid bodies: where they lie, how large they are, how they run through sections."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from parfocal_demo.volume.neurites import Tissue
from parfocal_demo.volume.noise import Field
from parfocal_demo.volume.spec import VolumeSpec


class Kind(Enum):
    """What a body is; only the first one is a mitochondrion."""

    MITOCHONDRION = "mitochondrion"
    DENSE_BODY = "dense body"
    LAMELLAR_BODY = "lamellar body"
    MULTIVESICULAR_BODY = "multivesicular body"
    MEMBRANE_STACK = "membrane stack"


@dataclass(frozen=True)
class Body:
    """One organelle; lengths in pixels, depths in sections.

    Attributes:
        kind: What it is.
        cell: The cell it lies in.
        centre: (z, y, x) of its middle.
        drift: (y, x) shift of its axis per section.
        half_depth: Half of its extent across sections.
        axes: Half lengths (long, short) of its cross-section.
        angle: Direction of the long axis in the middle section, radians.
        bend: Curvature of the long axis, per pixel.
        texture: Seed of what is inside it.
    """

    kind: Kind
    cell: int
    centre: tuple[float, float, float]
    drift: tuple[float, float]
    half_depth: float
    axes: tuple[float, float]
    angle: float
    bend: float
    texture: int

    def sections(self, depth: int) -> range:
        """Sections of a stack of `depth` that the body reaches."""
        first = int(np.ceil(self.centre[0] - self.half_depth))
        last = int(np.floor(self.centre[0] + self.half_depth))
        return range(max(0, first), min(depth - 1, last) + 1)

    def girth(self, z: float) -> float:
        """Factor on the cross-section at section `z`: 1 in the middle, 0 at the tips."""
        along = (z - self.centre[0]) / max(self.half_depth, 1e-6)
        return float(max(0.0, 1 - along**4) ** 0.5) if abs(along) < 1 else 0.0

    def middle(self, z: float) -> tuple[float, float]:
        """Return (y, x) of the axis at section `z`."""
        rise = z - self.centre[0]
        return self.centre[1] + self.drift[0] * rise, self.centre[2] + self.drift[1] * rise


_Size = tuple[float, float, float]
"""Half depth in sections, long and short half axis in nanometres."""


def place_bodies(spec: VolumeSpec, tissue: Tissue, rng: np.random.Generator) -> list[Body]:
    """Place organelles where the cells have room for them.

    Args:
        spec: Size and densities.
        tissue: Where the cells are.
        rng: Source of everything random.
    """
    density = {
        Kind.MITOCHONDRION: spec.mitochondria,
        Kind.DENSE_BODY: spec.dense_bodies,
        Kind.LAMELLAR_BODY: spec.lamellar_bodies,
        Kind.MULTIVESICULAR_BODY: spec.multivesicular_bodies,
        Kind.MEMBRANE_STACK: spec.membrane_stacks,
    }
    cubic_micrometres = tissue.cells.size * math.prod(spec.voxel_size_nm) / 1e9
    wanted = [
        (kind, _draw_size(kind, spec, rng))
        for kind in Kind
        for _ in range(round(density[kind] * cubic_micrometres))
    ]
    bodies: list[Body] = []
    for kind, size in sorted(wanted, key=lambda item: (-item[1][2], item[0].value)):
        body = _find_room(kind, size, tissue, bodies, rng)
        if body is not None:
            bodies.append(body)
    return bodies


def _draw_size(kind: Kind, spec: VolumeSpec, rng: np.random.Generator) -> _Size:
    thickness = spec.voxel_size_nm[0]
    if kind is Kind.MITOCHONDRION:
        short = float(np.clip(104 * np.exp(0.42 * rng.standard_normal()), 75, 300))
        if rng.random() < 0.3:
            return 1.15 * short / thickness, short * rng.uniform(1.7, 4.2), short
        return rng.uniform(250, 1100) / thickness, short * rng.uniform(1.0, 1.6), short
    if kind is Kind.MEMBRANE_STACK:
        short = float(rng.uniform(60, 110))
        return rng.uniform(70, 170) / thickness, short * rng.uniform(1.8, 3.2), short
    low, high = {
        Kind.DENSE_BODY: (60, 185),
        Kind.LAMELLAR_BODY: (70, 150),
        Kind.MULTIVESICULAR_BODY: (80, 180),
    }[kind]
    short = float(rng.uniform(low, high))
    return 1.1 * short / thickness, short * rng.uniform(1.0, 1.5), short


def _find_room(
    kind: Kind, size: _Size, tissue: Tissue, others: list[Body], rng: np.random.Generator
) -> Body | None:
    half_depth, long, short = size[0], size[1] / tissue.pixel_nm, size[2] / tissue.pixel_nm
    for z, y, x in _tries(tissue.cells.shape, half_depth, rng):
        spot = (round(min(max(z, 0), len(tissue.cells) - 1)), int(y), int(x))
        if tissue.wall[spot] < 0.75 * short + 30 / tissue.pixel_nm:
            continue
        cell = int(tissue.cells[spot])
        body = Body(
            kind=kind,
            cell=cell,
            centre=(z, y, x),
            drift=(float(tissue.drift[cell, 0]), float(tissue.drift[cell, 1])),
            half_depth=half_depth,
            axes=(long, short),
            angle=_long_way(tissue.wall[spot[0]], y, x, reach=long, rng=rng),
            bend=float(rng.normal(0, 0.25)) / long,
            texture=int(rng.integers(2**31)),
        )
        if not any(_collide(body, other) for other in others):
            return body
    return None


def _tries(
    shape: tuple[int, ...], half_depth: float, rng: np.random.Generator
) -> Iterator[tuple[float, float, float]]:
    depth, height, width = shape
    for _ in range(120):
        z = rng.uniform(-0.6 * half_depth, depth - 1 + 0.6 * half_depth)
        yield float(z), float(rng.uniform(0, height - 1)), float(rng.uniform(0, width - 1))


def _long_way(wall: Field, y: float, x: float, *, reach: float, rng: np.random.Generator) -> float:
    """Return the direction in which the cell leaves most room on both sides."""
    angles = rng.uniform(0, np.pi, 8)
    room: NDArray[np.float64] = np.zeros(len(angles))
    for part in (-0.8, -0.4, 0.4, 0.8):
        rows = np.clip(y + part * reach * np.sin(angles), 0, wall.shape[0] - 1).astype(int)
        columns = np.clip(x + part * reach * np.cos(angles), 0, wall.shape[1] - 1).astype(int)
        room += wall[rows, columns]
    return float(angles[room.argmax()])


def _collide(one: Body, other: Body) -> bool:
    if abs(one.centre[0] - other.centre[0]) > one.half_depth + other.half_depth:
        return False
    low = max(one.centre[0] - one.half_depth, other.centre[0] - other.half_depth)
    high = min(one.centre[0] + one.half_depth, other.centre[0] + other.half_depth)
    reach = 1.05 * (one.axes[0] + other.axes[0])
    return any(
        np.hypot(*np.subtract(one.middle(z), other.middle(z))) < reach
        for z in (low, (low + high) / 2, high)
    )
