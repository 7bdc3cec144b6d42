"""What a block needs in memory, known before it is begun."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from parfocal_inference.blending import Blend
from parfocal_inference.segment import runs_in_memory
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput

_COPIES_READ = 4
"""Of the pixels of a row: held, read ahead, put together, and as they are stored."""
_COPIES_WRITTEN = 4
"""Of the finished sections: collected, put together, being written, and as they are stored."""


def block_memory_bytes(
    grid: WindowGrid,
    box: Box,
    *,
    batch: int,
    at_once: int,
    read_chunk: int,
    write_chunk: int,
    dtype: npt.DTypeLike,
    is_augmented: bool,
) -> int:
    """Return the most bytes that predicting `box` takes, besides what the model itself takes.

    A block is worked on from its first section to its last, and only as many sections are held as
    a window sees: neither the image's size nor the depth of the block counts, once both are deeper
    than that.

    Args:
        grid: Windows of the image.
        box: The block.
        batch: Windows in one run of the model.
        at_once: Runs of the model at a time.
        read_chunk: Sections in a chunk of the image.
        write_chunk: Sections in a chunk of the map.
        dtype: Of the model's input.
        is_augmented: Whether the model sees each window several times.
    """
    depth, window = grid.window[0], math.prod(grid.window)
    hull = grid.hull(box).shape
    read = min(depth + read_chunk, hull[0]) * hull[1] * hull[2]
    written = min(depth + write_chunk, box.shape[0]) * box.shape[1] * box.shape[2]
    probability, view = 4, 8 + 1 + 4
    voxel = 1 + np.dtype(dtype).itemsize + probability
    run = batch * window * (voxel * runs_in_memory(at_once) + view * at_once * is_augmented)
    return (
        _COPIES_READ * read + run + Blend.memory_bytes(box, grid.window) + _COPIES_WRITTEN * written
    )


def require_room(needed: int, most: int | None) -> None:
    """Return if a box may have the memory that it needs; None is any.

    Raises:
        InvalidInput: If it may not (`ERROR_REASON_INVALID_FIELD`).
    """
    if most is not None and needed > most:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the box needs {needed} bytes of memory and may take {most}; a box of fewer rows and "
            "columns needs less",
            field="box",
            value=needed,
        )
