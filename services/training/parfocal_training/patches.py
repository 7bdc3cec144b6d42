"""Patches to train encoders from: places all over images, and the aligned masks of candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal_runtime.arrays import finish_read
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.store import ObjectStore
from parfocal_training.candidates import open_candidates, read_patches
from parfocal_training.regions import open_image

WHOLE_IMAGE_VOXELS = 2**26
"""Images up to this size are read once, larger ones patch by patch."""
READS_AT_ONCE = 256


def image_patches(
    store: ObjectStore, images: Sequence[str], *, count: int, side: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return `count` patches (count, side, side) from places uniform over the voxels of images.

    Raises:
        NotFound: If an image does not exist.
        InvalidInput: If one is of the wrong kind, or narrower than a patch
            (`ERROR_REASON_SHAPE_MISMATCH`).
    """
    arrays = [open_image(store, path, field="images") for path in images]
    for array, path in zip(arrays, images, strict=True):
        _require_side(min(array.shape[1:]) >= side, "images", path, array.shape, side)
    voxels = np.array([float(np.prod(array.shape)) for array in arrays])
    chosen = rng.choice(len(arrays), size=count, p=voxels / voxels.sum())
    parts = [
        _patches_of(array, _places(array.shape, int((chosen == index).sum()), side, rng), side)
        for index, array in enumerate(arrays)
    ]
    return np.concatenate(parts)


def mask_patches(
    store: ObjectStore, folders: Sequence[str], *, count: int, side: int, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Return at most `count` aligned masks (n, side, side) of the candidates of some sets.

    Raises:
        NotFound: If a set does not exist.
        InvalidInput: If its patches have another side (`ERROR_REASON_SHAPE_MISMATCH`).
        WrongState: If the sets hold no candidate (`ERROR_REASON_TOO_FEW_LABELS`).
    """
    sets = [open_candidates(store, folder) for folder in folders]
    ends = np.cumsum([len(candidates) for candidates in sets])
    total = int(ends[-1])
    if total == 0:
        raise WrongState(
            "ERROR_REASON_TOO_FEW_LABELS", "the sets hold no candidate", cause="no candidate"
        )
    rows = np.sort(rng.choice(total, size=min(count, total), replace=False))
    parts = []
    for candidates, end in zip(sets, ends, strict=True):
        begin = end - len(candidates)
        own = rows[(rows >= begin) & (rows < end)] - begin
        masks = read_patches(store, candidates, "mask", own.astype(np.int64))
        fits = masks.shape[1:] == (side, side)
        _require_side(fits, "patch_side", candidates.folder, masks.shape, side)
        parts.append(masks)
    return np.concatenate(parts)


def _places(
    shape: Sequence[int], count: int, side: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    z, y, x = shape
    return rng.integers(0, [z, y - side + 1, x - side + 1], size=(count, 3))


def _patches_of(
    array: ts.TensorStore, places: npt.NDArray[np.int64], side: int
) -> npt.NDArray[np.uint8]:
    patches = np.empty((len(places), side, side), dtype=np.uint8)
    if array.size <= WHOLE_IMAGE_VOXELS:
        whole = finish_read(array, array.read())
        for row, (z, y, x) in enumerate(places):
            patches[row] = whole[z, y : y + side, x : x + side]
        return patches
    for at in range(0, len(places), READS_AT_ONCE):
        reads = [
            array[int(z), int(y) : int(y) + side, int(x) : int(x) + side].read()
            for z, y, x in places[at : at + READS_AT_ONCE]
        ]
        patches[at : at + len(reads)] = [finish_read(array, read) for read in reads]
    return patches


def _require_side(fits: bool, field: str, path: str, shape: Sequence[int], side: int) -> None:
    if not fits:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{path} of shape {tuple(shape)} has no patches of side {side}",
            field=field,
            shape=tuple(shape),
            expected=side,
        )
