"""Masks as COCO files write them: run lengths, packed or not, and polygons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Region:
    """Pixels of a picture.

    Attributes:
        top: First row of the mask.
        left: First column of the mask.
        mask: (h, w) which pixels belong to it.
        is_box: Whether the file says a box only.
    """

    top: int
    left: int
    mask: npt.NDArray[np.bool_]
    is_box: bool = False

    @property
    def area(self) -> int:
        """Pixels in it."""
        return int(self.mask.sum())


def region_of(annotation: dict[str, Any], *, height: int, width: int) -> Region | None:
    """Return the pixels of a COCO annotation, or None where it has none inside the picture.

    Args:
        annotation: With a `segmentation`, or else a `bbox`.
        height: Rows of the picture.
        width: Columns.

    Raises:
        ValueError: If it is no COCO annotation; the message says why.
    """
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height=height, width=width)
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, height=height, width=width)
    return _from_box(annotation.get("bbox"), height=height, width=width)


def unpacked_counts(packed: str) -> list[int]:
    """Return run lengths from the text that pycocotools writes.

    Each number is given in groups of five bits, lowest first, as characters from `0` on, with a
    sixth bit that says whether more follow; from the fourth number on it is the difference to the
    number two before.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in packed.encode("ascii"):
        group = character - 48
        if not 0 <= group < 64:
            raise ValueError(f"packed run lengths have no character {chr(character)!r}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("packed run lengths end in the middle of a number")
    return counts


def _from_runs(segmentation: dict[str, Any], *, height: int, width: int) -> Region | None:
    if list(segmentation.get("size") or ()) != [height, width]:
        raise ValueError(f"its mask is of size {segmentation.get('size')}, not {[height, width]}")
    counts = segmentation.get("counts")
    lengths = np.array(unpacked_counts(counts) if isinstance(counts, str) else counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() > height * width:
        raise ValueError("its run lengths do not fit into the picture")
    stops = np.cumsum(lengths)
    starts, stops = stops[:-1:2], stops[1::2]
    inside = stops > starts
    return _painted(starts[inside], stops[inside], height=height)


def _painted(
    starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], *, height: int
) -> Region | None:
    """Return the region of column-major runs, no larger than it must be."""
    if not len(starts):
        return None
    left, right = int(starts[0]) // height, int(stops[-1] - 1) // height + 1
    flat = np.zeros((right - left) * height, bool)
    for start, stop in zip(
        (starts - left * height).tolist(), (stops - left * height).tolist(), strict=True
    ):
        flat[start:stop] = True
    mask = flat.reshape(right - left, height).T
    rows = np.flatnonzero(mask.any(axis=1))
    return Region(int(rows[0]), left, mask[rows[0] : rows[-1] + 1])


def _from_polygons(polygons: Sequence[Any], *, height: int, width: int) -> Region | None:
    """Return the pixels whose centres lie in any of the polygons."""
    rings = [np.asarray(polygon, np.float64) for polygon in polygons]
    if any(ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 for ring in rings):
        raise ValueError("a polygon takes three points or more, x and y of each")
    corners = np.concatenate(rings).reshape(-1, 2)
    if not np.isfinite(corners).all():
        raise ValueError("a corner of a polygon is not a finite number")
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    frame = _clipped(x0, y0, x1, y1, height=height, width=width)
    if frame is None:
        return None
    left, top, right, bottom = frame
    mask = np.zeros((bottom - top, right - left), bool)
    for ring in rings:
        mask |= _inside(ring.reshape(-1, 2) - (left, top), mask.shape)
    return Region(top, left, mask) if mask.any() else None


def _inside(ring: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return which pixel centres have an odd number of edges to their left."""
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), np.int32)
    centres = np.arange(rows) + 0.5
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        crossed = np.flatnonzero((ay <= centres) != (by <= centres))
        if len(crossed):
            x = ax + (centres[crossed] - ay) / (by - ay) * (bx - ax)
            first = np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64)
            crossings[crossed, first] += 1
    return np.asarray(np.cumsum(crossings, axis=1)[:, :columns] % 2 == 1)


def _from_box(box: Any, *, height: int, width: int) -> Region | None:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("it has neither a segmentation nor a bbox of four numbers")
    x, y, w, h = (float(number) for number in box)
    if not all(map(math.isfinite, (x, y, w, h))) or w < 0 or h < 0:
        raise ValueError(f"its bbox is no box: {box}")
    # A pixel belongs to a box that covers its centre.
    left, top = math.ceil(x - 0.5), math.ceil(y - 0.5)
    frame = _clipped(
        left, top, math.ceil(x + w - 0.5), math.ceil(y + h - 0.5), height=height, width=width
    )
    if frame is None:
        return None
    left, top, right, bottom = frame
    return Region(top, left, np.ones((bottom - top, right - left), bool), is_box=True)


def _clipped(
    x0: float, y0: float, x1: float, y1: float, *, height: int, width: int
) -> tuple[int, int, int, int] | None:
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(width, math.ceil(x1)), min(height, math.ceil(y1))
    return (left, top, right, bottom) if left < right and top < bottom else None
