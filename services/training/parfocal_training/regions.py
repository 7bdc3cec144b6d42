"""Labelled boxes of the object store, as regions in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorstore as ts

from parfocal_runtime.arrays import open_array, read_box
from parfocal_runtime.box import Box, Triple, require_inside
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.store import ObjectStore
from parfocal_training.sampling import Region
from parfocal_training.spec import LabelledBox


def open_image(store: ObjectStore, path: str, *, field: str) -> ts.TensorStore:
    """Open a uint8 array (z, y, x).

    Raises:
        NotFound: If there is none.
        InvalidInput: If it is another kind of array (`ERROR_REASON_DTYPE_MISMATCH`,
            `ERROR_REASON_SHAPE_MISMATCH`).
    """
    array = open_array(store, store.resolve(path))
    if array.dtype.numpy_dtype != np.uint8:
        raise InvalidInput(
            "ERROR_REASON_DTYPE_MISMATCH",
            f"{field} must be uint8, {path} is {array.dtype.name}",
            field=field,
            dtype=array.dtype.name,
            expected="uint8",
        )
    _require_rank(array, field, path)
    return array


def open_truth(
    store: ObjectStore, path: str, image: ts.TensorStore, *, field: str
) -> ts.TensorStore:
    """Open an array (z, y, x) of any type that lies on `image`; nonzero is foreground.

    Raises:
        NotFound: If there is none.
        InvalidInput: If it has another shape (`ERROR_REASON_SHAPE_MISMATCH`).
    """
    truth = open_array(store, store.resolve(path))
    _require_rank(truth, field, path)
    if truth.shape != image.shape:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{field} {path} has shape {truth.shape}, its image {image.shape}",
            field=field,
            shape=truth.shape,
            expected=image.shape,
        )
    return truth


def read_regions(
    store: ObjectStore, boxes: Sequence[LabelledBox], window: Triple, *, field: str
) -> list[Region]:
    """Read labelled boxes with as much image around them as a window can reach.

    Raises:
        NotFound: If an array does not exist.
        InvalidInput: If one is of the wrong kind, or a box lies outside.
    """
    return [_read_region(store, labelled, window, field) for labelled in boxes]


def require_both_sides(regions: Sequence[Region]) -> None:
    """Return if the regions hold foreground and background.

    Raises:
        WrongState: If not (`ERROR_REASON_TOO_FEW_LABELS`).
    """
    foreground = any(bool((r.target & r.valid).any()) for r in regions)
    background = any(bool(((1 - r.target) & r.valid).any()) for r in regions)
    if foreground and background:
        return
    missing = "foreground" if not foreground else "background"
    raise WrongState(
        "ERROR_REASON_TOO_FEW_LABELS",
        f"the labelled boxes hold no {missing}",
        cause=f"no {missing}",
    )


def context(box: Box, window: Triple, shape: Sequence[int]) -> Box:
    """Return `box` grown by the window on all sides, cut at the image."""
    return box.grown(window, within=Box.whole(shape))


def _read_region(store: ObjectStore, labelled: LabelledBox, window: Triple, field: str) -> Region:
    image = open_image(store, labelled.image, field=f"{field}.image")
    truth = open_truth(store, labelled.truth, image, field=f"{field}.truth")
    box = require_inside(labelled.box, image.shape, field=f"{field}.box")
    block = context(box, window, image.shape)
    core = box.relative_to(block.start)
    target = np.zeros(block.shape, dtype=np.uint8)
    valid = np.zeros(block.shape, dtype=np.uint8)
    target[core.slices] = read_box(truth, box) != 0
    valid[core.slices] = 1
    return Region(read_box(image, block), target, valid, core).padded(window)


def _require_rank(array: ts.TensorStore, field: str, path: str) -> None:
    if array.rank != 3:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{field} must have the axes z, y, x, {path} has shape {array.shape}",
            field=field,
            shape=array.shape,
            expected="(z, y, x)",
        )
