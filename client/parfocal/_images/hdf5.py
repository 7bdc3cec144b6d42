"""HDF5 files with an image in one data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parfocal._errors import ImageError
from parfocal._images.colour import chosen_channel
from parfocal._images.source import Array, ImageSource, checked_dtype, checked_shape

# The data set that most tools of the field write and read.
_USUAL_KEY = "main"


class Hdf5Source(ImageSource):
    """One data set (z, y, x), (y, x) or (c, z, y, x) of an HDF5 file.

    The data set is `key` if given, else `main`, else the first in order of names.
    """

    kind = "HDF5"

    def __init__(self, file: Path, *, key: str | None = None, channel: int | None = None) -> None:
        self.name = file.name
        self._path = file
        try:
            self._file = h5py.File(file, "r")
        except OSError as error:
            raise self._damaged(error) from error
        try:
            self.key = self._chosen_key(key)
            self._data = self._file[self.key]
            self._channel = self._chosen_channel(channel)
            shape = self._data.shape if self._channel is None else self._data.shape[1:]
            self.shape = checked_shape(shape, f"{file}:{self.key}")
            self.dtype = checked_dtype(self._data.dtype, f"{file}:{self.key}")
        except BaseException:
            self._file.close()
            raise

    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        """Return sections (z, y, x)."""
        try:
            return self._part(sections, rows).astype(self.dtype, copy=False)
        except OSError as error:
            raise self._damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _part(self, sections: slice, rows: slice) -> Array:
        if self._channel is not None:
            return np.asarray(self._data[self._channel, sections, rows])
        if self._data.ndim == 2:
            return np.asarray(self._data[rows])[None]
        return np.asarray(self._data[sections, rows])

    def _chosen_key(self, key: str | None) -> str:
        keys = _data_sets(self._file)
        if key is not None and key.strip("/") in keys:
            return key.strip("/")
        if key is not None or not keys:
            wanted = f"the data set {key!r}" if key is not None else "a data set"
            raise ImageError(
                f"{self._path}: expected {wanted}, found {', '.join(keys) or 'none'}",
                reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
                metadata={"path": str(self._path), "key": key or ""},
            )
        return _USUAL_KEY if _USUAL_KEY in keys else keys[0]

    def _chosen_channel(self, channel: int | None) -> int | None:
        if self._data.ndim != 4:
            return None
        return chosen_channel(self._data.shape[0], channel, f"{self._path}:{self.key}")

    def _damaged(self, error: OSError) -> ImageError:
        return ImageError(
            f"{self._path}: expected a whole HDF5 file, could not read it: {error}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": str(self._path)},
        )


def _data_sets(file: Any) -> list[str]:
    found: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(name)

    file.visititems(visit)
    return sorted(found)
