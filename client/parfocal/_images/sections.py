"""Folders with one file per section: which files, in which order, and that they fit together."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parfocal._errors import ImageError
from parfocal._images.source import Array, ImageSource

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
TIFFS = frozenset({".tif", ".tiff"})

Header = tuple[tuple[int, int], np.dtype[Any]]


def section_files(folder: Path) -> list[Path]:
    """Return the pictures in `folder`, natural order: `z2` before `z10`.

    Files that are no pictures, and hidden ones, are passed over.

    Raises:
        ImageError: If there is none, or TIFF and other pictures are mixed.
    """
    files = [
        path
        for path in folder.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in PICTURES | TIFFS
    ]
    if not files:
        raise ImageError(
            f"{folder}: expected a folder with one TIFF or PNG file per section, found none",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": str(folder)},
        )
    kinds = {path.suffix.lower() in TIFFS for path in files}
    if len(kinds) > 1:
        raise ImageError(
            f"{folder}: expected either TIFF or PNG sections, found both",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": str(folder)},
        )
    return sorted(files, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key by which numbers in names count as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    # The name itself decides between `z1` and `z01`.
    keys = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
    return (*keys, (1, name))


def require_alike(files: Sequence[Path], headers: Iterable[Header]) -> Header:
    """Return the common size (y, x) and type of all sections.

    Raises:
        ImageError: If one differs from the first; the message names both.
    """
    first: Header | None = None
    for file, (size, dtype) in zip(files, headers, strict=True):
        if first is None:
            first = (size, dtype)
        if size != first[0]:
            raise ImageError(
                f"{file}: all sections must have one size; {files[0].name} is "
                f"{first[0][0]} x {first[0][1]} (y, x), this one {size[0]} x {size[1]}",
                reason="ERROR_REASON_SHAPE_MISMATCH",
                metadata={"path": str(file), "shape": str(size), "expected": str(first[0])},
            )
        if dtype != first[1]:
            raise ImageError(
                f"{file}: all sections must have one type; {files[0].name} has {first[1]}, "
                f"this one {dtype}",
                reason="ERROR_REASON_DTYPE_MISMATCH",
                metadata={"path": str(file), "dtype": str(dtype), "expected": str(first[1])},
            )
    assert first is not None, "section_files never returns an empty list"
    return first


class SectionStack(ImageSource):
    """Files of one section each, all of one size and type.

    Args:
        files: The files, in order.
        name: Last part of the folder's path.
        channel: The channel to read of files with several.
        labels: Whether the voxels are numbers of objects.

    Raises:
        ImageError: If a file cannot be read, or differs from the first.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        name: str,
        channel: int | None = None,
        labels: bool = False,
    ) -> None:
        self.name = name
        self._files = list(files)
        self._channel = channel
        self._labels = labels
        size, self.dtype = require_alike(self._files, map(self._header, self._files))
        self.shape = (len(self._files), *size)

    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        """Return sections (z, y, x); each file is decoded whole."""
        return np.stack([self._section(file)[rows] for file in self._files[sections]])

    @abstractmethod
    def _header(self, file: Path) -> Header:
        """Return size (y, x) and type of a section without decoding it."""

    @abstractmethod
    def _section(self, file: Path) -> Array:
        """Return a section (y, x)."""
