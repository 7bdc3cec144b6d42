"""What the microscope and the microtome add: blur, shot noise, drift of contrast, misalignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parfocal_demo.volume.noise import Field, smooth_noise

_ELECTRONS_PER_PIXEL = 120.0
_BLUR_PIXELS = 0.55


def record_section(grey: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture of one section: blur, counting noise, contrast of the day.

    Args:
        grey: Grey values 0..255, float32 (y, x).
        rng: Source of the noise.
    """
    blurred = np.clip(ndimage.gaussian_filter(grey, _BLUR_PIXELS), 2, 255)
    counts = rng.poisson(blurred / 255 * _ELECTRONS_PER_PIXEL).astype(np.float32)
    picture = ndimage.gaussian_filter(counts / _ELECTRONS_PER_PIXEL * 255, 0.45)
    shade = 1 + 0.035 * smooth_noise(rng, grey.shape, scale=max(grey.shape) / 5)
    contrast, brightness = rng.normal(1.04, 0.05), rng.normal(0, 5)
    adjusted = (picture * shade - 140) * contrast + 140 + brightness
    return np.asarray(np.clip(np.rint(adjusted), 0, 255), np.uint8)


def misalignment(
    rng: np.random.Generator, shape: tuple[int, int], *, pixel_nm: float
) -> tuple[Field, Field]:
    """Return where each pixel of a section comes from (rows, columns): a shift and a slow warp."""
    rows, columns = np.indices(shape, dtype=np.float32)
    shift = np.clip(rng.normal(0, 8 / pixel_nm, 2), -20 / pixel_nm, 20 / pixel_nm)
    warp = [smooth_noise(rng, shape, scale=900 / pixel_nm) * 6 / pixel_nm for _ in range(2)]
    return rows + np.float32(shift[0]) + warp[0], columns + np.float32(shift[1]) + warp[1]
