"""Reading boxes that may reach outside the array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Box, Triple

Read = Callable[[Box], npt.NDArray[Any]]
"""Returns the voxels (z, y, x) of a box that lies inside the array."""


def read_padded(
    read: Read, box: Box, *, shape: Triple, mode: Literal["reflect", "constant"]
) -> npt.NDArray[Any]:
    """Return the voxels (z, y, x) of a box that shares at least one voxel with the array.

    Args:
        read: Reads the array; asked once, for what lies inside.
        box: What to return.
        shape: Of the array.
        mode: What stands outside: the array reflected at its border, which is not repeated, or
            zeros. A reflection sees only what is read, so a box should reach outside no farther
            than inside, or hold the whole axis.
    """
    inside = Box.whole(shape).intersection(box) or box
    voxels = read(inside)
    if inside == box:
        return voxels
    before = np.subtract(inside.start, box.start)
    after = np.subtract(box.stop, inside.stop)
    return np.pad(voxels, np.stack([before, after], axis=1), mode=mode)
