"""Objects of a label image, and the candidates that they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from parfocal._errors import ImageError
from parfocal._exchange.answers import Meaning
from parfocal._exchange.candidates import Source
from parfocal._exchange.matching import Overlap, Thing
from parfocal._images.opening import open_source
from parfocal._images.source import ImageSource
from parfocal._images.writing import slabs

Progress = Callable[[str, int, int], None]
Pairs = Counter[tuple[int, int]]
"""Voxels by object and candidate + 1; 0 stands for none."""


def label_image_things(
    path: str | os.PathLike[str],
    source: Source,
    *,
    meaning: Meaning,
    key: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[Thing], list[Overlap]]:
    """Return the objects of a label image, and by how much candidates are the same.

    Both are read slab by slab, once.

    Args:
        path: What `open_source` reads; each number but 0 is one object.
        source: The image that the candidates were found in, of the same shape.
        meaning: What the numbers say.
        key: Data set of an HDF5 file.
        progress: Called with what is being done, the work done and the work in all.

    Raises:
        ImageError: If it cannot be read, holds no whole numbers, or has another shape.
    """
    with open_source(path, key=key, labels=True) as image:
        _require_fitting(image, source)
        pairs = _count(image, source, progress)
    sizes, candidates = _totals(pairs)
    numbers = sorted(sizes)
    place = {number: at for at, number in enumerate(numbers)}
    things = [Thing(f"object {number}", meaning.of(str(number))) for number in numbers]
    overlaps = [
        Overlap(place[number], value - 1, voxels / (sizes[number] + candidates[value] - voxels))
        for (number, value), voxels in pairs.items()
        if number and value
    ]
    return things, overlaps


def _require_fitting(image: ImageSource, source: Source) -> None:
    if source.objects is None:
        raise ImageError(
            f"the candidate set keeps no objects in {source.name}, with which those of a label "
            "image could be compared",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": source.path},
        )
    if image.dtype.kind not in "bui":
        raise ImageError(
            f"{image.name}: expected numbers of objects, got type {image.dtype}",
            reason="ERROR_REASON_DTYPE_MISMATCH",
            metadata={"path": image.name, "dtype": str(image.dtype)},
        )
    if image.shape != source.shape:
        raise ImageError(
            f"{image.name} is of shape {image.shape} (z, y, x), {source.name} of {source.shape}",
            reason="ERROR_REASON_SHAPE_MISMATCH",
            metadata={"shape": str(image.shape), "expected": str(source.shape)},
        )


def _count(image: ImageSource, source: Source, progress: Progress | None) -> Pairs:
    pairs: Pairs = Counter()
    total, done = int(np.prod(image.shape)), 0
    width = image.shape[2]
    for sections, rows in slabs(image.shape, 8):
        numbers = image.read(sections, rows)
        start, stop = (sections.start, rows.start, 0), (sections.stop, rows.stop, width)
        pairs.update(counted(numbers, source.read(start, stop)))
        done += numbers.size
        if progress is not None:
            progress("comparing objects", done, total)
    return pairs


def counted(numbers: npt.NDArray[np.generic], values: npt.NDArray[np.generic]) -> Pairs:
    """Return how many voxels have which object and which value; those without both are left out.

    Args:
        numbers: Objects, of any shape.
        values: Candidate + 1 where there is one, of the same shape.
    """
    inside = (numbers != 0) | (values != 0)
    first, at_first = np.unique(numbers[inside], return_inverse=True)
    second, at_second = np.unique(values[inside], return_inverse=True)
    codes = np.bincount(at_first * len(second) + at_second, minlength=len(first) * len(second))
    found = np.flatnonzero(codes)
    rows, columns = np.divmod(found, max(len(second), 1))
    return Counter(
        {
            (int(number), int(value)): int(voxels)
            for number, value, voxels in zip(
                first[rows].tolist(), second[columns].tolist(), codes[found].tolist(), strict=True
            )
        }
    )


def _totals(pairs: Pairs) -> tuple[Counter[int], Counter[int]]:
    """Return the voxels of each object, and of each candidate + 1."""
    sizes: Counter[int] = Counter()
    candidates: Counter[int] = Counter()
    for (number, value), voxels in pairs.items():
        if number:
            sizes[number] += voxels
        if value:
            candidates[value] += voxels
    return sizes, candidates
