"""Boxes of voxels: half-open, in zyx order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from parfocal_runtime.errors import InvalidInput

Triple = tuple[int, int, int]


@dataclass(frozen=True, order=True)
class Box:
    """A half-open box `[start, stop)` of voxels, zyx.

    Raises:
        InvalidInput: If a side is zero or negative (`ERROR_REASON_INVALID_BOX`).
    """

    start: Triple
    stop: Triple

    def __post_init__(self) -> None:
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        if not (z0 < z1 and y0 < y1 and x0 < x1):
            raise InvalidInput(
                "ERROR_REASON_INVALID_BOX",
                f"a box must have positive sides, got start {self.start}, stop {self.stop}",
                field="box",
                start=self.start,
                stop=self.stop,
            )

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """Return the box of a whole array of `shape` (z, y, x)."""
        z, y, x = shape
        return cls((0, 0, 0), (z, y, x))

    @property
    def shape(self) -> Triple:
        """Side lengths (z, y, x)."""
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        return (z1 - z0, y1 - y0, x1 - x0)

    @property
    def voxels(self) -> int:
        """Number of voxels inside."""
        z, y, x = self.shape
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Numpy index of the box in the array it is a box of."""
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        return (slice(z0, z1), slice(y0, y1), slice(x0, x1))

    def contains(self, other: Box) -> bool:
        """Return whether `other` lies fully inside."""
        return all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            a >= b for a, b in zip(self.stop, other.stop, strict=True)
        )

    def intersection(self, other: Box) -> Box | None:
        """Return the common box, or None where there is none."""
        start = _triple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = _triple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        if any(high <= low for low, high in zip(start, stop, strict=True)):
            return None
        return Box(start, stop)

    def grown(self, margin: Sequence[int], *, within: Box) -> Box:
        """Return the box grown by `margin` voxels (z, y, x) on both sides, cut at `within`."""
        start = _triple(
            max(a - m, low) for a, m, low in zip(self.start, margin, within.start, strict=True)
        )
        stop = _triple(
            min(a + m, high) for a, m, high in zip(self.stop, margin, within.stop, strict=True)
        )
        return Box(start, stop)

    def relative_to(self, origin: Sequence[int]) -> Box:
        """Return the same box with `origin` (z, y, x) as the new zero."""
        return Box(
            _triple(a - o for a, o in zip(self.start, origin, strict=True)),
            _triple(a - o for a, o in zip(self.stop, origin, strict=True)),
        )

    def blocks(self, shape: Sequence[int]) -> Iterator[Box]:
        """Yield boxes of at most `shape` that tile this one, z slowest."""
        ranges = [
            range(low, high, side)
            for low, high, side in zip(self.start, self.stop, shape, strict=True)
        ]
        for z, y, x in product(*ranges):
            start = (z, y, x)
            yield Box(
                start,
                _triple(
                    min(a + side, high)
                    for a, side, high in zip(start, shape, self.stop, strict=True)
                ),
            )


def require_inside(box: Box, shape: Sequence[int], *, field: str = "box") -> Box:
    """Return `box` if it lies inside an array of `shape` (z, y, x).

    Raises:
        InvalidInput: If it does not (`ERROR_REASON_BOX_OUTSIDE_IMAGE`).
    """
    if not Box.whole(shape).contains(box):
        raise InvalidInput(
            "ERROR_REASON_BOX_OUTSIDE_IMAGE",
            f"{field} {box.start}..{box.stop} reaches outside the image of shape {tuple(shape)}",
            field=field,
            start=box.start,
            stop=box.stop,
            shape=tuple(shape),
        )
    return box


def _triple(values: Iterator[int]) -> Triple:
    z, y, x = values
    return (z, y, x)
