"""What every reader gives: sections of one image, a few at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from parfocal._errors import ImageError

Array = npt.NDArray[Any]
Triple = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


class ImageSource(ABC):
    """An image on disk, opened but not read.

    Attributes:
        name: Last part of its path, for messages and records.
        kind: What it is, such as `TIFF stack`.
        shape: Length of the axes z, y, x.
        dtype: Type of its voxels as `read` returns them.
        voxel_size_nm: Size of a voxel (z, y, x) in nanometres where the file says it.
        key: The data set inside the file that was taken; empty where there is only one.
    """

    name: str
    kind: str
    shape: Triple
    dtype: np.dtype[Any]
    voxel_size_nm: VoxelSize | None = None
    key: str = ""

    @abstractmethod
    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        """Return a part of the image, (z, y, x), all columns.

        Raises:
            ImageError: If the file is damaged; the message names it.
        """

    def close(self) -> None:
        """Close what was opened."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def checked_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Return `dtype` in the machine's byte order if voxels can have it.

    Raises:
        ImageError: If it is not boolean, integer or real.
    """
    if dtype.kind not in "buif":
        raise ImageError(
            f"{name}: voxels must be boolean, integer or real numbers, got type {dtype}",
            reason="ERROR_REASON_DTYPE_MISMATCH",
            metadata={"path": name, "dtype": str(dtype)},
        )
    return dtype.newbyteorder("=")


def checked_shape(shape: tuple[int, ...], name: str) -> Triple:
    """Return `shape` as (z, y, x); a flat picture gets one section.

    Raises:
        ImageError: If it has other axes or no voxels.
    """
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(
            f"{name}: expected axes (z, y, x) or (y, x) with at least one voxel, "
            f"got shape {tuple(shape)}",
            reason="ERROR_REASON_SHAPE_MISMATCH",
            metadata={"path": name, "shape": str(tuple(shape))},
        )
    z, y, x = (int(side) for side in shape)
    return (z, y, x)
