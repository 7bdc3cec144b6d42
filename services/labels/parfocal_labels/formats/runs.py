"""Masks as runs of pixels, column by column, as COCO counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Runs of equal pixels down the columns of one section; none crosses into the next column.

    Attributes:
        value: (R,) what the pixels of each run are.
        start: (R,) its first pixel, `x * height + y`.
        length: (R,) its pixels.
    """

    value: Integers
    start: Integers
    length: Integers

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True)
class Mask:
    """The pixels of one value in a section.

    Attributes:
        counts: Lengths of runs in column-major order, beginning with one of pixels outside.
        box: x, y, width, height in pixels.
        area: Pixels inside.
    """

    counts: list[int]
    box: tuple[int, int, int, int]
    area: int


def runs_of(
    tile: npt.NDArray[np.uint32],
    wanted: npt.NDArray[np.bool_],
    *,
    origin: tuple[int, int],
    height: int,
) -> Runs:
    """Return the runs in a part of a section.

    Args:
        tile: (h, w) values.
        wanted: (V,) by value: whether its runs are asked for; values from V on are not.
        origin: y and x of the tile's first pixel in the section.
        height: Rows of the whole section.
    """
    rows = tile.shape[0]
    pixels = tile.T.ravel()
    begins = np.ones(len(pixels), bool)
    begins[1:] = pixels[1:] != pixels[:-1]
    begins[::rows] = True
    starts = np.flatnonzero(begins)
    values = pixels[starts].astype(np.int64)
    keep = wanted[np.minimum(values, len(wanted) - 1)] & (values < len(wanted))
    lengths = np.diff(starts, append=len(pixels))
    column, row = np.divmod(starts[keep], rows)
    y, x = origin
    return Runs(values[keep], (column + x) * height + row + y, lengths[keep])


def masks(parts: Sequence[Runs], *, height: int, width: int) -> Iterator[tuple[int, Mask]]:
    """Yield each value of one section and its mask, from the runs of all tiles of the section."""
    value, start, length = (
        np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0, np.int64)])
        for name in ("value", "start", "length")
    )
    order = np.lexsort((start, value))
    value, start, length = value[order], start[order], length[order]
    ends = np.flatnonzero(np.diff(value)) + 1
    for one in np.split(np.arange(len(value)), ends):
        if len(one):
            yield int(value[one[0]]), _mask(start[one], length[one], height=height, width=width)


def _mask(start: Integers, length: Integers, *, height: int, width: int) -> Mask:
    stop = start + length
    x, y = np.divmod(start, height)
    left, top = int(x.min()), int(y.min())
    right, bottom = int(x.max()) + 1, int((y + length).max())
    return Mask(
        _counts(start, stop, size=height * width),
        (left, top, right - left, bottom - top),
        int(length.sum()),
    )


def _counts(start: Integers, stop: Integers, *, size: int) -> list[int]:
    # A run that begins where the one before ends is its continuation, in a tile or column further.
    first = np.ones(len(start), bool)
    first[1:] = start[1:] != stop[:-1]
    last = np.append(first[1:], True)
    edges = np.stack([start[first], stop[last]], axis=1).ravel()
    counts = np.diff(edges, prepend=0).tolist()
    rest = size - int(edges[-1])
    return [*counts, rest] if rest else counts
