"""Objects that a patch classifier finds as it slides over the sections of an image.

A window slides at a fixed stride, each class has a heat map, and its maxima above a threshold are
detections, as in SimSearch (Gupta et al., bioRxiv 2022.04.05.487117). The windows are anchored to
the image and a maximum is decided by what is near it, so what is found does not depend on the box:
the detections of boxes that tile an image are those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.peaks import margin, peaks
from parfocal_inference.reading import Read
from parfocal_inference.reading_ahead import rows_ahead
from parfocal_inference.waiting import Waiting
from parfocal_runtime.box import Box, Triple

Classify = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Takes patches (N, 1, H, W) and returns probabilities (N, K)."""


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        label: Its class, from 0.
        box: The patch it was seen in, one section deep.
        confidence: Probability of the class.
    """

    label: int
    box: Box
    confidence: float

    @property
    def centre(self) -> tuple[float, float]:
        """Middle (y, x) of the patch."""
        (_, top, left), (_, bottom, right) = self.box.start, self.box.stop
        return ((top + bottom) / 2, (left + right) / 2)


@dataclass(frozen=True)
class PatchGrid:
    """Where patches lie on the sections of an image: from its corner on, at every stride.

    Patches lie inside the image as a whole; one that is smaller has none.

    Attributes:
        shape: Of the image (z, y, x).
        patch: Height and width of a patch.
        stride: Pixels between neighbouring patches.
    """

    shape: Triple
    patch: tuple[int, int]
    stride: int

    def around(self, box: Box) -> tuple[range, range]:
        """Return the rows and columns of the patches that decide what lies in `box`."""
        rows, columns = (
            self._around(axis, low, high, beyond)
            for axis, low, high, beyond in zip(
                (0, 1), box.start[1:], box.stop[1:], margin(self.reach), strict=True
            )
        )
        return (rows, columns)

    @property
    def reach(self) -> tuple[float, float]:
        """Rows and columns in half a patch: nearer to a maximum there is no other."""
        height, width = self.patch
        return (max(height / 2 / self.stride, 1), max(width / 2 / self.stride, 1))

    def has_centre_in(self, row: int, column: int, box: Box) -> bool:
        """Return whether the middle of a patch lies in `box`, whatever the section."""
        (top, left), (bottom, right) = box.start[1:], box.stop[1:]
        y, x = (
            place * self.stride + side / 2
            for place, side in zip((row, column), self.patch, strict=True)
        )
        return top <= y < bottom and left <= x < right

    def _around(self, axis: int, low: int, high: int, beyond: int) -> range:
        side, size = self.patch[axis], self.shape[1 + axis]
        count = max(0, (size - side) // self.stride + 1)
        # The middle of a patch at `place` is at place * stride + side / 2.
        first = -((side - 2 * low) // (2 * self.stride))
        stop = -((side - 2 * high) // (2 * self.stride))
        return range(max(0, first - beyond), min(count, stop + beyond))


def detect(
    read: Read,
    classify: Classify,
    *,
    grid: PatchGrid,
    box: Box,
    threshold: float,
    left_out: Collection[int] = (),
    batch: int = 64,
    chunk: int = 1,
    cancel: Cancellation = UNCANCELLED,
) -> Iterator[Detection]:
    """Yield the objects whose middle lies in `box`, section by section, class by class.

    Args:
        read: Reads the image; asked from another thread.
        classify: Runs the model.
        grid: Where patches lie.
        box: Where to look; must lie inside the image.
        threshold: Least confidence of a detection.
        left_out: Classes that are nothing to find, such as background.
        batch: Patches in one call of `classify`; the last one of a section is filled up.
        chunk: Sections in a chunk of the image; reading keeps to them.
        cancel: Asked between calls of `classify`.
    """
    rows, columns = grid.around(box)
    if not rows or not columns:
        return
    hull = _hull(grid, rows, columns, box)
    with ThreadPoolExecutor(1, thread_name_prefix="detect") as reader:
        sections = rows_ahead(
            read,
            hull,
            range(box.start[0], box.stop[0]),
            depth=1,
            shape=grid.shape,
            chunk=chunk,
            executor=reader,
            waiting=Waiting(),
        )
        for z, pixels in zip(range(box.start[0], box.stop[0]), sections, strict=True):
            maps = _heat_maps(pixels[0], classify, grid, batch=batch, cancel=cancel)
            for label, confidence in enumerate(maps):
                if label in left_out:
                    continue
                for row, column in peaks(confidence, threshold=threshold, reach=grid.reach):
                    place = (rows.start + int(row), columns.start + int(column))
                    if grid.has_centre_in(*place, box):
                        found = _patch_box(grid, z, *place)
                        yield Detection(label, found, float(confidence[row, column]))


def memory_bytes(grid: PatchGrid, box: Box, *, classes: int, batch: int, chunk: int) -> int:
    """Return about the most bytes that `detect` takes besides what the model takes."""
    rows, columns = grid.around(box)
    if not rows or not columns:
        return 0
    hull = _hull(grid, rows, columns, box).shape
    pixels = 4 * (chunk + 1) * hull[1] * hull[2]
    # Heat maps, and what is made of one to find its peaks.
    places = (4 * classes + 40) * len(rows) * len(columns)
    return pixels + places + 2 * batch * grid.patch[0] * grid.patch[1] * 5


def _hull(grid: PatchGrid, rows: range, columns: range, box: Box) -> Box:
    (top, left), (bottom, right) = (
        (rows.start * grid.stride, columns.start * grid.stride),
        (
            (rows.stop - 1) * grid.stride + grid.patch[0],
            (columns.stop - 1) * grid.stride + grid.patch[1],
        ),
    )
    return Box((box.start[0], top, left), (box.stop[0], bottom, right))


def _heat_maps(
    section: npt.NDArray[np.uint8],
    classify: Classify,
    grid: PatchGrid,
    *,
    batch: int,
    cancel: Cancellation,
) -> npt.NDArray[np.float32]:
    """Return the confidence (K, rows, columns) of the patches on a section (y, x)."""
    views = np.lib.stride_tricks.sliding_window_view(section, grid.patch)
    views = views[:: grid.stride, :: grid.stride]
    places = np.indices(views.shape[:2]).reshape(2, -1)
    patches = np.zeros((batch, 1, *grid.patch), np.uint8)
    found = []
    for first in range(0, places.shape[1], batch):
        cancel.check()
        rows, columns = places[:, first : first + batch]
        patches[: len(rows), 0] = views[rows, columns]
        found.append(classify(patches)[: len(rows)])
    confidence = np.concatenate(found).T
    return np.ascontiguousarray(confidence).reshape(-1, *views.shape[:2])


def _patch_box(grid: PatchGrid, z: int, row: int, column: int) -> Box:
    top, left = row * grid.stride, column * grid.stride
    return Box((z, top, left), (z + 1, top + grid.patch[0], left + grid.patch[1]))
