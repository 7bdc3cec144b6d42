"""TIFF: one file with many pages, or a folder with one file per section."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from parfocal._errors import ImageError
from parfocal._images.colour import chosen_channel, single_dtype, single_sample
from parfocal._images.pictures import opened_picture
from parfocal._images.sections import Header, SectionStack
from parfocal._images.source import Array, ImageSource, checked_dtype
from parfocal._images.tiff_metadata import voxel_size_nm

# What tifffile reports, and then reads fewer pages than the file once had.
_DAMAGE = ("invalid page offset", "corrupted", "failed to reshape")


class TiffFile(ImageSource):
    """The pages of one TIFF file as sections (z, y, x).

    The axis of the pages is taken as z whatever it is called (Z, T, I, Q), unless it is called
    C; files with both sections and channels (ZC, CZ) give one channel.
    """

    kind = "TIFF stack"

    def __init__(self, file: Path, *, channel: int | None = None, labels: bool = False) -> None:
        self.name = file.name
        self._path = file
        self._labels = labels
        self._file = opened_tiff(file)
        try:
            with _damage_named(file):
                pages, self._sample = _stacked_pages(self._file, file, channel)
                self._pages = pages
                self.voxel_size_nm = voxel_size_nm(self._file)
            size, self.dtype = _page_header(pages[0], file, labels=labels)
        except BaseException:
            self._file.close()
            raise
        self.shape = (len(pages), *size)

    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        """Return sections (z, y, x); each page is decoded whole."""
        return np.stack([self._section(page)[rows] for page in self._pages[sections]])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _section(self, page: Any) -> Array:
        with _damage_named(self._path):
            pixels = _page_pixels(page, self._path)
        one = single_sample(pixels, str(self._path), channel=self._sample, labels=self._labels)
        return one.astype(self.dtype, copy=False)


class TiffFolder(SectionStack):
    """TIFF files of one page each, one per section."""

    kind = "TIFF folder"

    def _header(self, file: Path) -> Header:
        with TiffFile(file, channel=self._channel, labels=self._labels) as section:
            if section.shape[0] != 1:
                raise ImageError(
                    f"{file}: expected one section per file in a folder, got {section.shape[0]}",
                    reason="ERROR_REASON_SHAPE_MISMATCH",
                    metadata={"path": str(file), "shape": str(section.shape)},
                )
            return section.shape[1:], section.dtype

    def _section(self, file: Path) -> Array:
        with TiffFile(file, channel=self._channel, labels=self._labels) as section:
            (only,) = section.read(slice(None))
            return np.asarray(only)


def opened_tiff(file: Path) -> tifffile.TiffFile:
    """Open a TIFF file; raise `ImageError` where it is none."""
    with _damage_named(file):
        return tifffile.TiffFile(file)


def _stacked_pages(
    file: tifffile.TiffFile, path: Path, channel: int | None
) -> tuple[list[Any], int | None]:
    """Return the pages along z, and which sample of each to take (None: make it grey)."""
    series = file.series
    first = series[0]
    counts = {
        axis: length
        for axis, length in zip(first.axes, first.shape, strict=True)
        if axis not in "SYX"
    }
    if not counts and len(series) > 1 and all(one.shape == first.shape for one in series):
        # Pages that were written one at a time come as so many series.
        return [one.pages[0] for one in series], channel
    pages = _pages(first, int(np.prod([*counts.values()])))
    if "C" not in counts and len(counts) <= 1:
        return pages, channel
    if "C" not in counts or len(counts) > 2:
        raise ImageError(
            f"{path}: expected a stack of sections, got axes {first.axes} of lengths {first.shape}",
            reason="ERROR_REASON_SHAPE_MISMATCH",
            metadata={"path": str(path), "shape": str(first.shape)},
        )
    chosen = chosen_channel(counts["C"], channel, str(path))
    step = int(np.prod([*counts.values()][[*counts].index("C") + 1 :]))
    return [page for at, page in enumerate(pages) if at // step % counts["C"] == chosen], None


def _pages(series: Any, count: int) -> list[Any]:
    pages = [*series.pages]
    if len(pages) == count and all(page is not None for page in pages):
        return pages
    return [_HeaderlessPage(series, index) for index in range(count)]


class _HeaderlessPage:
    """A page without a header of its own, as ImageJ writes stacks above 4 GB."""

    def __init__(self, series: Any, index: int) -> None:
        self.keyframe = series.keyframe
        self.dtype = series.dtype
        self.shape = series.keyframe.shape
        self.axes = series.keyframe.axes
        self._series = series
        self._index = index

    def asarray(self) -> Array:
        handle = self._series.parent.filehandle
        count = int(np.prod(self.shape))
        offset = self._series.dataoffset + self._index * count * self.dtype.itemsize
        dtype = self.dtype.newbyteorder(self._series.parent.byteorder)
        data: Array = handle.read_array(dtype, count=count, offset=offset)
        return data.reshape(self.shape)


def _page_header(page: Any, file: Path, *, labels: bool) -> Header:
    dtype = checked_dtype(np.dtype(page.dtype), str(file))
    sides = dict(zip(page.axes, page.shape, strict=True))
    samples = sides.get("S", 1)
    return (sides["Y"], sides["X"]), single_dtype(dtype, samples, labels=labels)


def _page_pixels(page: Any, file: Path) -> Array:
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        # LZW and JPEG need a package that tifffile does not bring; Pillow knows them.
        with opened_picture(file) as picture:
            picture.seek(page.index)
            return np.asarray(picture)
    return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn whatever a damaged file provokes, warnings in the log included, into `ImageError`."""
    logger, heard = logging.getLogger("tifffile"), _Heard()
    logger.addHandler(heard)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    except (OSError, ValueError, IndexError, KeyError, zlib.error, RuntimeError) as error:
        raise _damaged(file, str(error)) from error
    finally:
        logger.propagate = propagate
        logger.removeHandler(heard)
    if heard.damage:
        raise _damaged(file, heard.damage)


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.damage = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(word in text for word in _DAMAGE):
            self.damage = self.damage or text


def _damaged(file: Path, why: str) -> ImageError:
    return ImageError(
        f"{file}: expected a whole TIFF file, could not read it: {why}",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"path": str(file)},
    )
