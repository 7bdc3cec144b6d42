"""What to generate: the size, the seed and the crowd of the volume."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True)
class VolumeSpec:
    """Parameters of a generated volume; equal parameters give equal bytes.

    Bodies are given per cubic micrometre, so that a larger volume holds more of everything.
    """

    shape: Shape = (20, 640, 640)
    """Sections, rows and columns."""

    voxel_size_nm: VoxelSize = (50.0, 10.0, 10.0)
    """Section thickness and pixel size, zyx."""

    seed: int = 0
    """Seed of everything random."""

    mitochondria: float = 4.1
    """Mitochondria per cubic micrometre."""

    dense_bodies: float = 1.9
    """Lysosome-like bodies per cubic micrometre: dark, granular, no cristae."""

    lamellar_bodies: float = 1.0
    """Bodies of concentric membranes per cubic micrometre."""

    multivesicular_bodies: float = 1.1
    """Round bodies filled with vesicles per cubic micrometre."""

    membrane_stacks: float = 1.2
    """Stacks of parallel cisternae per cubic micrometre."""

    oblique_share: float = 0.10
    """Share of the area where cell membranes are cut obliquely and smear."""

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.shape) or any(side <= 0 for side in self.voxel_size_nm):
            raise ValueError(f"shape and voxel size must be positive, got {self}")
