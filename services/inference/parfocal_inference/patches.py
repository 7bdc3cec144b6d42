"""Aligned patches: what a person judges and what an encoder sees of a candidate.

A patch is cut from one section around the centroid of the object there, and turned so that the
object's long axis stands upright. Image and mask go through the same transform about the same
pixel, which comes to lie at `side // 2`: a patch that is not turned is a plain copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from parfocal_inference.alignment import Alignment, Mask, alignment_of, rotation
from parfocal_inference.reading import Read, read_padded
from parfocal_runtime.box import Box, Triple

_DIAGONAL = 1.415
# How far from the middle an object is looked at to find its axis, in pixels: enough for any
# organelle, and a bound on memory where half the image is one object.
_FARTHEST = 1024


@dataclass(frozen=True)
class Place:
    """Where in an image the object of a patch is.

    Attributes:
        label: What the label array holds inside the object.
        z: The section.
        centre: The pixel (y, x) that the patch is cut around.
        low: First pixel (y, x) of the object's box on the section.
        high: First pixel (y, x) outside it.
    """

    label: int
    z: int
    centre: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]


@dataclass(frozen=True)
class Patch:
    """The picture of one candidate.

    Attributes:
        image: (side, side) uint8, linearly interpolated; reflected where it leaves the image.
        mask: (side, side) int8, 1 inside the object, of the nearest pixel; 0 outside the image
            and in other objects.
        alignment: How it was turned.
    """

    image: npt.NDArray[np.uint8]
    mask: Mask
    alignment: Alignment


def extract_patch(
    read_image: Read, read_labels: Read, place: Place, *, shape: Triple, side: int
) -> Patch:
    """Return the patch of one object.

    Args:
        read_image: Reads the image (z, y, x) uint8.
        read_labels: Reads the label array of the same shape.
        place: Where the object is.
        shape: Of the image.
        side: Of the patch, in pixels.
    """
    crop = _around(place, _reach(side))
    image = read_padded(read_image, crop, shape=shape, mode="reflect")[0]
    seen = _object_box(place)
    mask = np.asarray(read_labels(seen)[0] == place.label, np.int8)
    alignment = alignment_of(mask) if mask.any() else Alignment(math.nan, math.nan)
    around = np.zeros(crop.shape[1:], np.int8)
    common = crop.intersection(seen)
    if common is not None:
        here, there = (common.relative_to(box.start).slices[1:] for box in (crop, seen))
        around[here] = mask[there]
    return Patch(*turned(image, around, side=side, angle=alignment.angle), alignment)


def turned(
    image: npt.NDArray[np.uint8], mask: Mask, *, side: int, angle: float
) -> tuple[npt.NDArray[np.uint8], Mask]:
    """Return the middle of an image and its mask, turned about their middle pixel.

    Args:
        image: (c, c) uint8 with c odd and at least 1.415 `side` + 3.
        mask: (c, c) int8.
        side: Of what is returned.
        angle: Degrees, counter-clockwise as displayed; NaN copies.

    Returns:
        (side, side) uint8, linearly interpolated, and (side, side) int8, of the nearest pixel.
    """
    middle = len(image) // 2
    if math.isnan(angle):
        window = slice(middle - side // 2, middle - side // 2 + side)
        return image[window, window].copy(), mask[window, window].copy()
    matrix = rotation(angle)
    offset = middle - matrix @ np.full(2, side // 2)
    grey = ndimage.affine_transform(
        image.astype(np.float32), matrix, offset, output_shape=(side, side), order=1
    )
    turned_mask = ndimage.affine_transform(mask, matrix, offset, output_shape=(side, side), order=0)
    return np.rint(grey).astype(np.uint8), turned_mask


def _reach(side: int) -> int:
    # One more pixel, for the neighbours that interpolation asks for.
    return math.ceil(_DIAGONAL * side / 2) + 1


def _around(place: Place, reach: int) -> Box:
    y, x = place.centre
    return Box((place.z, y - reach, x - reach), (place.z + 1, y + reach + 1, x + reach + 1))


def _object_box(place: Place) -> Box:
    whole = Box((place.z, *place.low), (place.z + 1, *place.high))
    return whole.intersection(_around(place, _FARTHEST)) or whole
