"""What fills the cells: ribosomes, microtubules, vesicles, and the membranes around it all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parfocal_demo.volume.neurites import Tissue
from parfocal_demo.volume.noise import Field, drifting_noise, smooth_noise

_GLIA_GREY = 112.0
_VESICLE_RADIUS_NM = 21.0
_DENSE_CORE_RADIUS_NM = 36.0


@dataclass(frozen=True)
class CellLook:
    """How each cell looks, by cell id.

    Attributes:
        grey: (C,) mean grey value of the cytoplasm.
        grain: (C,) strength of the dark specks.
        vesicles: (C,) synaptic vesicles per square pixel in its cluster.
        dense_cores: (C,) dense-core vesicles per square pixel.
        reticulum: (C,) strength of the endoplasmic reticulum.
    """

    grey: Field
    grain: Field
    vesicles: Field
    dense_cores: Field
    reticulum: Field


def draw_looks(rng: np.random.Generator, glia: NDArray[np.bool_]) -> CellLook:
    """Draw the look of each cell; glia is dark and smooth."""
    count = len(glia)
    grey = np.where(glia, _GLIA_GREY, rng.normal(168, 11, count))
    grain = np.where(glia, 0.75, rng.gamma(7, 0.15, count))
    vesicles = np.where(rng.random(count) < 0.13, rng.uniform(0.004, 0.014, count), 0) * ~glia
    cores = np.where(rng.random(count) < 0.22, rng.uniform(0.0001, 0.0006, count), 0) * ~glia
    reticulum = np.where(rng.random(count) < 0.4, rng.uniform(30, 80, count), 0) * ~glia
    parts = (grey, grain, vesicles, cores, reticulum)
    return CellLook(*(np.asarray(part, np.float32) for part in parts))


def draw_cytoplasm(look: CellLook, tissue: Tissue, rng: np.random.Generator) -> Field:
    """Fill the cells, before any membrane or organelle: grey values, float32 (z, y, x)."""
    pixel_nm = tissue.pixel_nm
    clusters = drifting_noise(rng, tissue.cells.shape, scale=120 / pixel_nm, sections=1.5)
    grey = np.empty(tissue.cells.shape, np.float32)
    for z, cells in enumerate(tissue.cells):
        specks = _specks(rng, cells.shape, pixel_nm=pixel_nm)
        mottle = smooth_noise(rng, cells.shape, scale=170 / pixel_nm)
        grey[z] = look.grey[cells] + look.grain[cells] * specks + 6.5 * mottle
        grey[z] -= look.reticulum[cells] * _reticulum(rng, cells.shape, pixel_nm=pixel_nm)
        room = tissue.wall[z] * pixel_nm > _VESICLE_RADIUS_NM * 1.6
        chance = look.vesicles[cells] * (clusters[z] > 0.1) * room
        grey[z] += _stamp(rng, chance, _vesicle(pixel_nm))
        grey[z] += _stamp(rng, look.dense_cores[cells] * room, _dense_core(pixel_nm))
    return grey


def draw_walls(
    grey: Field, tissue: Tissue, rng: np.random.Generator, *, oblique_share: float
) -> Field:
    """Draw the membranes over the cytoplasm.

    Where the membrane stands upright in the section it is a thin dark line; where it lies
    obliquely the section shows it as a broad grey smear, which is what fools a model that
    learnt "dark and textured" from few labels.
    """
    wall, pixel_nm = tissue.wall, tissue.pixel_nm
    tilt = drifting_noise(rng, wall.shape, scale=150 / pixel_nm, sections=0.8)
    limit = float(np.quantile(tilt, 1 - oblique_share))
    thick = drifting_noise(rng, wall.shape, scale=110 / pixel_nm, sections=1.2)
    drawn = np.empty_like(grey)
    for z in range(len(wall)):
        width = np.clip(11 + 2.8 * thick[z], 6.5, 21) / pixel_nm
        line = np.exp(-((wall[z] / width) ** 2))
        lean = np.clip((tilt[z] - limit) * 1.6, 0, 1)
        reach = (25 + 75 * lean) / pixel_nm
        shade = 0.52 * lean * np.exp(-((wall[z] / reach) ** 2))
        striation = 1 + 0.22 * smooth_noise(rng, line.shape, scale=18 / pixel_nm)
        cover = np.clip(1 - (1 - 0.94 * line) * (1 - shade * striation), 0, 0.95)
        drawn[z] = grey[z] * (1 - cover) + 20 * cover
    return drawn


def _specks(rng: np.random.Generator, shape: tuple[int, int], *, pixel_nm: float) -> Field:
    """Ribosomes and cut microtubules: dark dots of about 25 nm with a long dark tail."""
    dots = smooth_noise(rng, shape, scale=12 / pixel_nm)
    wide = smooth_noise(rng, shape, scale=26 / pixel_nm)
    dark = np.maximum(dots - 0.1, 0) * np.clip(0.8 + 0.55 * wide, 0, 2.5)
    return np.asarray(7 * wide + 5 * dots - 62 * dark + 24, np.float32)


def _reticulum(rng: np.random.Generator, shape: tuple[int, int], *, pixel_nm: float) -> Field:
    """Thin wandering membranes: contour lines of a smooth field, in patches."""
    course = smooth_noise(rng, shape, scale=70 / pixel_nm)
    patches = np.clip(smooth_noise(rng, shape, scale=130 / pixel_nm) - 0.5, 0, 1)
    return np.asarray(np.exp(-((course / 0.13) ** 2)) * patches, np.float32)


def _stamp(rng: np.random.Generator, chance: Field, kernel: Field) -> Field:
    """Put `kernel` at random pixels, each chosen with its own chance."""
    hits = (rng.random(chance.shape, dtype=np.float32) < chance).astype(np.float32)
    if not hits.any():
        return hits
    return np.clip(ndimage.convolve(hits, kernel, mode="constant"), -95, 40)


def _vesicle(pixel_nm: float) -> Field:
    gap = np.abs(_radii(_VESICLE_RADIUS_NM * 1.8, pixel_nm) - _VESICLE_RADIUS_NM)
    ring = np.exp(-((gap / 8.5) ** 2))
    lumen = np.exp(-((_radii(_VESICLE_RADIUS_NM * 1.8, pixel_nm) / 11) ** 2))
    return np.asarray(-62 * ring + 22 * lumen, np.float32)


def _dense_core(pixel_nm: float) -> Field:
    radii = _radii(_DENSE_CORE_RADIUS_NM * 2, pixel_nm)
    core = 1 / (1 + np.exp((radii - _DENSE_CORE_RADIUS_NM) / 6))
    halo = np.exp(-(((radii - 1.45 * _DENSE_CORE_RADIUS_NM) / 10) ** 2))
    return np.asarray(-120 * core + 14 * halo, np.float32)


def _radii(reach_nm: float, pixel_nm: float) -> Field:
    half = int(np.ceil(reach_nm / pixel_nm))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(np.hypot(y, x) * pixel_nm, np.float32)
