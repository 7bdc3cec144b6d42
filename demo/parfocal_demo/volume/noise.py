"""Smooth random fields: what bends walls, mottles cytoplasm and tears sections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], *, scale: float) -> Field:
    """Draw a field of mean 0 and standard deviation 1 that varies over about `scale` pixels.

    Args:
        rng: Source of the white noise.
        shape: Rows and columns.
        scale: Standard deviation of the Gaussian that smooths it, pixels.
    """
    step = max(1, int(scale / 3))
    coarse = tuple(-(-side // step) + 3 for side in shape)
    white = rng.standard_normal(coarse, dtype=np.float32)
    field = ndimage.gaussian_filter(white, scale / step, mode="wrap")
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    if step > 1:
        field = ndimage.zoom(field, step, order=1)
    return np.ascontiguousarray(field[: shape[0], : shape[1]], dtype=np.float32)


def drifting_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], *, scale: float, sections: float
) -> Field:
    """Draw a (z, y, x) field of unit spread that changes over about `sections` sections.

    Args:
        rng: Source of the white noise.
        shape: Sections, rows and columns.
        scale: Smoothness inside a section, pixels.
        sections: Smoothness across sections.
    """
    depth, height, width = shape
    planes = np.stack([smooth_noise(rng, (height, width), scale=scale) for _ in range(depth)])
    field = ndimage.gaussian_filter1d(planes, sections, axis=0, mode="nearest")
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)
