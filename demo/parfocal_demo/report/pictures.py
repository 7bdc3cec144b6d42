"""Pictures for the page: sections as embedded images, outlines as paths drawn over them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Section = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Outline:
    """A line drawn over a picture.

    Attributes:
        path: SVG path data in pixels of the picture.
        style: What it marks: the class name that the page colours it by.
    """

    path: str
    style: str


@dataclass(frozen=True)
class Plate:
    """A picture with outlines.

    Attributes:
        uri: The picture itself, as a data URI.
        width: Pixels.
        height: Pixels.
        outlines: What is drawn over it.
        title: A few words above it.
        caption: A sentence below it.
    """

    uri: str
    width: int
    height: int
    outlines: tuple[Outline, ...]
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """All pictures of the page.

    Attributes:
        overview: One section with the parts and the crops.
        comparison: The same place of the test part: truth, before, after.
        gallery: One plate per suggestion, in the order of the findings.
    """

    overview: Plate
    comparison: tuple[Plate, ...]
    gallery: tuple[Plate, ...]


def plate(
    section: Section, outlines: tuple[Outline, ...], *, title: str = "", caption: str = ""
) -> Plate:
    """Make a plate of a section, uint8 (y, x)."""
    height, width = section.shape
    return Plate(_picture(section), width, height, outlines, title, caption)


def crop_around(
    section: Section, mask: Mask, box: tuple[int, int, int, int], *, side: int, style: str
) -> Plate:
    """Make a plate of `side` pixels around a proposal, with its outline.

    Where the proposal is larger than that, the plate is as large as it.

    Args:
        section: uint8 (y, x).
        mask: The proposal in its section, bool (y, x).
        box: Rows and columns of the proposal: y0, x0, y1, x1, half-open.
        side: Least side of the plate, pixels.
        style: Class name of the outline.
    """
    y0, x0, y1, x1 = box
    side = max(side, y1 - y0 + 16, x1 - x0 + 16)
    top = _start((y0 + y1) // 2, side, section.shape[0])
    left = _start((x0 + x1) // 2, side, section.shape[1])
    window = (slice(top, top + side), slice(left, left + side))
    return plate(section[window], (Outline(outline(mask[window]), style),))


def outline(mask: Mask) -> str:
    """Return the border between inside and outside as SVG path data, pixel edges joined."""
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    parts = [f"M{left} {row}h{right - left}" for row, left, right in _runs(across)]
    parts += [f"M{column} {top}v{bottom - top}" for column, top, bottom in _runs(down.T)]
    return "".join(parts)


def rectangle(top: int, left: int, bottom: int, right: int) -> str:
    """Return a half-open box of pixels as SVG path data."""
    return f"M{left} {top}H{right}V{bottom}H{left}Z"


def _runs(edges: Mask) -> list[tuple[int, int, int]]:
    """Return (line, start, stop) of every unbroken run of each line."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return [(int(a), int(b), int(c)) for a, b, c in zip(lines, starts, stops, strict=True)]


def _start(middle: int, side: int, length: int) -> int:
    return int(np.clip(middle - side // 2, 0, max(0, length - side)))


def _picture(section: Section) -> str:
    stream = io.BytesIO()
    Image.fromarray(section).save(stream, format="JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
