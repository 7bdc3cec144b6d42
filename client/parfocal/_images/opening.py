"""Which reader a path needs."""

from __future__ import annotations

import os
from pathlib import Path

from parfocal._errors import ImageError
from parfocal._images.place import place
from parfocal._images.sections import PICTURES, TIFFS, section_files
from parfocal._images.source import ImageSource

_HDF5 = frozenset({".h5", ".hdf5", ".hdf", ".he5"})
_ZARR = ("zarr.json", ".zattrs", ".zgroup")


def open_source(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    channel: int | None = None,
    labels: bool = False,
) -> ImageSource:
    """Open an image of any kind that can be imported; nothing is read yet.

    Args:
        path: A TIFF, PNG, JPEG, BMP or HDF5 file, a folder with one such picture per section
            (in natural order), or an OME-Zarr 0.4 or 0.5 group, which may also be a URI
            (`s3://bucket/image.ome.zarr`).
        key: Data set of an HDF5 file; else `main`, else the first in order of names.
        channel: The channel to read where there are several, counted from 0. Colour pictures
            become grey by luminance if none is named.
        labels: Whether the voxels are numbers of objects, so that palettes are read as numbers
            and colour as 24-bit numbers.

    Raises:
        ImageError: If there is nothing, or nothing that can be read; the message says what was
            expected.

    Example:
        >>> with open_source("stack/raw") as source:  # doctest: +SKIP
        ...     print(source.kind, source.shape, source.dtype)
    """
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        return _zarr(text, channel)
    file = Path(text.removeprefix("file://"))
    if not file.exists():
        raise ImageError(
            f"{file}: there is no such file or folder",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": str(file)},
        )
    if file.is_dir():
        return _folder(file, channel, labels)
    return _file(file, key, channel, labels)


def _folder(folder: Path, channel: int | None, labels: bool) -> ImageSource:
    if folder.suffix == ".zarr" or any((folder / name).exists() for name in _ZARR):
        return _zarr(str(folder), channel)
    files = section_files(folder)
    if files[0].suffix.lower() in TIFFS:
        from parfocal._images.tiff import TiffFolder

        return TiffFolder(files, name=folder.name, channel=channel, labels=labels)
    from parfocal._images.pictures import PictureStack

    return PictureStack(files, name=folder.name, channel=channel, labels=labels)


def _file(file: Path, key: str | None, channel: int | None, labels: bool) -> ImageSource:
    suffix = file.suffix.lower()
    if suffix in TIFFS:
        from parfocal._images.tiff import TiffFile

        return TiffFile(file, channel=channel, labels=labels)
    if suffix in PICTURES:
        from parfocal._images.pictures import PictureStack

        return PictureStack([file], name=file.name, channel=channel, labels=labels)
    if suffix in _HDF5:
        from parfocal._images.hdf5 import Hdf5Source

        return Hdf5Source(file, key=key, channel=channel)
    raise ImageError(
        f"{file}: expected a TIFF, PNG, JPEG, BMP or HDF5 file, a folder of pictures, "
        f"or an OME-Zarr group",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"path": str(file)},
    )


def _zarr(uri: str, channel: int | None) -> ImageSource:
    from parfocal._images.omezarr import OmeZarrSource

    return OmeZarrSource(place(uri), channel=channel)
