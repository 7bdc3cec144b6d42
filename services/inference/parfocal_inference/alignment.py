"""The turn that makes an object's long axis stand upright.

Rows count downwards, so a positive angle turns counter-clockwise as displayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.int8]

ROUND_BELOW = 1.1
"""Objects whose axes differ by a smaller factor have no long axis worth turning to."""

_CONTACT_PIXELS = 20
# A unit pixel is no point: it has this variance itself, so a line of pixels has a width.
_PIXEL_VARIANCE = 1 / 12
_LEVEL = 1e-9
_SYMMETRIC = 1e-6


@dataclass(frozen=True)
class Alignment:
    """How a mask has to be turned.

    Attributes:
        angle: Degrees, counter-clockwise as displayed, in (-180, 180]; NaN where it is round.
        anisotropy: Length of the long axis over that of the short one, at least 1.
    """

    angle: float
    anisotropy: float


def alignment_of(mask: Mask) -> Alignment:
    """Return the turn that stands the first principal axis of a mask upright.

    The axes are those of the mask's pixels (principal component analysis); the axis of a mask
    with two sides is that of the contact between them, if more than 20 pixels touch.

    An axis has two ends. Where the mask has two sides, +1 comes to lie left of -1. Else the
    thinner end points down: the pixels' third moment along the axis is not negative. A mask that
    is symmetric along its axis keeps the smaller turn, 90 rather than -90 degrees.

    Args:
        mask: (y, x) int8 in {-1, 0, +1} with at least one pixel that is not 0.
    """
    pixels = np.argwhere(_axis_pixels(mask)).astype(np.float64)
    pixels -= pixels.mean(axis=0)
    covariance = pixels.T @ pixels / len(pixels) + _PIXEL_VARIANCE * np.eye(2)
    variances, axes = np.linalg.eigh(covariance)
    anisotropy = math.sqrt(variances[1] / variances[0])
    if anisotropy < ROUND_BELOW:
        return Alignment(math.nan, anisotropy)
    down, right = axes[:, 1]
    if abs(down) < _LEVEL:
        down, right = 0.0, -1.0
    elif down < 0:
        down, right = -down, -right
    # The axis (down, right) comes to (1, 0), that is straight down.
    angle = math.degrees(math.atan2(-right, down))
    return Alignment(_turned(angle) if _is_upside_down(mask, angle) else angle, anisotropy)


def rotation(angle: float) -> npt.NDArray[np.float64]:
    """Return the (2, 2) matrix that takes an offset (y, x) after the turn to the one before."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return np.array([[cosine, sine], [-sine, cosine]])


def _axis_pixels(mask: Mask) -> npt.NDArray[np.bool_]:
    plus, minus = mask > 0, mask < 0
    if not (plus.any() and minus.any()):
        return plus | minus
    square = np.ones((3, 3), bool)
    contact: npt.NDArray[np.bool_] = np.logical_and(
        ndimage.binary_dilation(plus, square), ndimage.binary_dilation(minus, square)
    )
    return contact if np.count_nonzero(contact) > _CONTACT_PIXELS else plus | minus


def _is_upside_down(mask: Mask, angle: float) -> bool:
    turn = rotation(angle).T
    plus, minus = (np.argwhere(side).astype(np.float64) for side in (mask > 0, mask < 0))
    if len(plus) and len(minus):
        return bool((turn @ plus.mean(axis=0))[1] > (turn @ minus.mean(axis=0))[1])
    pixels = np.concatenate([plus, minus])
    along = ((pixels - pixels.mean(axis=0)) @ turn.T)[:, 0]
    return bool(np.mean(along**3) < -_SYMMETRIC * np.mean(along**2) ** 1.5)


def _turned(angle: float) -> float:
    return angle - 180 if angle > 0 else angle + 180
