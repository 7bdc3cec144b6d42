"""How voxels of any type become the bytes that models take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parfocal._errors import ImageError
from parfocal._images.source import Array, ImageSource

PERCENTILES = (0.5, 99.5)
# The range is measured on at most so many sections and so many voxels of them.
_SECTIONS = 64
_VOXELS = 1 << 22


@dataclass(frozen=True)
class Intensity:
    """A mapping of voxels to uint8, kept with the image.

    Attributes:
        source_dtype: Type of the voxels in the file.
        low: The value that becomes 0, as do smaller ones and NaN.
        high: The value that becomes 255, as do greater ones.
        low_percentile: Percentile of the voxels at which `low` lies; None where the range is that
            of the type.
        high_percentile: Likewise for `high`.
    """

    source_dtype: str
    low: float
    high: float
    low_percentile: float | None = None
    high_percentile: float | None = None

    def __call__(self, block: Array) -> Array:
        """Return `block` as uint8: `round(255 (v - low) / (high - low))`, cut at 0 and 255."""
        if block.dtype == np.uint8 and (self.low, self.high) == (0.0, 255.0):
            return block
        if block.dtype.kind in "bu" and block.dtype.itemsize <= 2:
            every = np.arange(2 ** (8 * block.dtype.itemsize), dtype=np.float64)
            table = self._mapped(every)
            return np.take(table, block.view(f"u{block.dtype.itemsize}"))
        mapped = np.empty(block.shape, np.uint8)
        for section, target in zip(block, mapped, strict=True):
            # One at a time, since numbers of 64 bits take eight times the memory of bytes.
            target[...] = self._mapped(section.astype(np.float64))
        return mapped

    def _mapped(self, values: Array) -> Array:
        span = self.high - self.low
        with np.errstate(over="ignore"):
            values -= self.low
            values *= 255.0 / span if span > 0 else 255.0
        np.nan_to_num(values, copy=False, nan=0.0)
        return np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8)

    def record(self) -> dict[str, Any]:
        """Return what is written to the image's metadata."""
        return asdict(self)


def measured_intensity(
    source: ImageSource, *, progress: Callable[[int, int], None] | None = None
) -> Intensity:
    """Return the mapping for an image.

    Bytes stay as they are and booleans become 0 and 255. Everything else is stretched between
    the percentiles 0.5 and 99.5 of its finite voxels, measured on at most 64 evenly spread
    sections, so that a few hot pixels do not darken the image.

    Raises:
        ImageError: If a real-valued image has no finite voxel.
    """
    name = str(source.dtype)
    if source.dtype == np.uint8:
        return Intensity(name, 0.0, 255.0)
    if source.dtype == np.bool_:
        return Intensity(name, 0.0, 1.0)
    sample = _sample(source, progress)
    if not sample.size:
        raise ImageError(
            f"{source.name}: no voxel is a finite number",
            reason="ERROR_REASON_FEATURES_NOT_FINITE",
            metadata={"path": source.name},
        )
    low, high = np.percentile(sample, PERCENTILES)
    return Intensity(name, float(low), float(high), *PERCENTILES)


def _sample(source: ImageSource, progress: Callable[[int, int], None] | None) -> Array:
    z, y, x = source.shape
    sections = np.unique(np.linspace(0, z - 1, min(z, _SECTIONS)).round().astype(int))
    step = max(1, round((len(sections) * y * x / _VOXELS) ** 0.5))
    parts = []
    for done, section in enumerate(sections, start=1):
        plane = source.read(slice(section, section + 1))[0, ::step, ::step]
        parts.append(plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane.ravel())
        if progress is not None:
            progress(done, len(sections))
    return np.concatenate(parts)
