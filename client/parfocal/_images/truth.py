"""What the numbers of a truth image mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from parfocal._errors import ImageError
from parfocal._images.source import Array, ImageSource
from parfocal._images.writing import slabs

TruthKind = Literal["auto", "mask", "instances"]

# Masks come with foreground 1 or 255, sometimes both in one stack.
_MASK_VALUES = frozenset({0, 1, 255})


@dataclass(frozen=True)
class Truth:
    """How the voxels of a truth image are stored.

    Attributes:
        kind: `mask`: any nonzero voxel becomes 1. `instances`: each number is one object.
        dtype: Type of the stored array: the smallest unsigned one that holds the numbers.
        highest: The greatest number in the source.
    """

    kind: Literal["mask", "instances"]
    dtype: np.dtype[Any]
    highest: int

    def __call__(self, block: Array) -> Array:
        """Return a slab as it is stored."""
        return (block != 0).astype(np.uint8) if self.kind == "mask" else block.astype(self.dtype)


def measured_truth(
    source: ImageSource,
    *,
    kind: TruthKind = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Return how to store a truth image, from reading it once.

    With `auto` it is a mask if it has no numbers but 0, 1 and 255, and instances otherwise.

    Raises:
        ImageError: If voxels are negative or no whole numbers.
    """
    if source.dtype.kind not in "bui":
        raise _refused(source, f"got type {source.dtype}", "ERROR_REASON_DTYPE_MISMATCH")
    lowest, highest, only_mask = 0, 0, True
    total, done = int(np.prod(source.shape)), 0
    for sections, rows in slabs(source.shape, source.dtype.itemsize):
        block = source.read(sections, rows)
        lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
        only_mask = only_mask and bool(np.isin(block, list(_MASK_VALUES)).all())
        done += block.size
        if progress is not None:
            progress(done, total)
    if lowest < 0:
        raise _refused(source, f"found {lowest}", "ERROR_REASON_INVALID_FIELD")
    if kind == "mask" or (kind == "auto" and only_mask):
        return Truth("mask", np.dtype(np.uint8), highest)
    return Truth("instances", _smallest(highest), highest)


def _smallest(highest: int) -> np.dtype[Any]:
    sizes: tuple[npt.DTypeLike, ...] = (np.uint8, np.uint16, np.uint32, np.uint64)
    return next(np.dtype(size) for size in sizes if highest <= np.iinfo(np.dtype(size)).max)


def _refused(source: ImageSource, found: str, reason: str) -> ImageError:
    return ImageError(
        f"{source.name}: expected a mask or object numbers, whole and not negative, {found}",
        reason=reason,
        metadata={"path": source.name},
    )
