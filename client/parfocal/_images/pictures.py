"""PNG, JPEG and BMP: one picture, or a folder with one per section."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from parfocal._errors import ImageError
from parfocal._images.colour import single_dtype, single_sample
from parfocal._images.sections import Header, SectionStack
from parfocal._images.source import Array

# Pillow's mode -> type and number of samples as numpy sees them.
_MODES: dict[str, tuple[type[np.generic], int]] = {
    "1": (np.bool_, 1),
    "L": (np.uint8, 1),
    "P": (np.uint8, 1),
    "LA": (np.uint8, 2),
    "RGB": (np.uint8, 3),
    "RGBA": (np.uint8, 4),
    "I;16": (np.uint16, 1),
    "I;16B": (np.uint16, 1),
    "I": (np.int32, 1),
    "F": (np.float32, 1),
}


class PictureStack(SectionStack):
    """Pictures of one size, one per section.

    Colour becomes grey as `single_sample` says. A palette means its colours in an image and its
    numbers in labels.
    """

    kind = "picture stack"

    def _header(self, file: Path) -> Header:
        with opened_picture(file) as picture:
            mode = self._mode(picture)
            if mode not in _MODES:
                raise ImageError(
                    f"{file}: pictures of kind {mode} are not supported",
                    reason="ERROR_REASON_DTYPE_MISMATCH",
                    metadata={"path": str(file), "dtype": mode},
                )
            dtype, samples = _MODES[mode]
            size = (picture.height, picture.width)
        return size, single_dtype(np.dtype(dtype), samples, labels=self._labels)

    def _section(self, file: Path) -> Array:
        with opened_picture(file) as picture:
            mode = self._mode(picture)
            pixels = np.asarray(picture if mode == picture.mode else picture.convert(mode))
        one = single_sample(pixels, str(file), channel=self._channel, labels=self._labels)
        return one.astype(self.dtype, copy=False)

    def _mode(self, picture: Image.Image) -> str:
        return "L" if picture.mode == "P" and not self._labels else picture.mode


@contextmanager
def opened_picture(file: Path) -> Iterator[Image.Image]:
    """Open a picture of any size; whatever is wrong with the file is an `ImageError`."""
    # Pillow's limit guards web servers; here a person named the file, and sections are large.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(file) as picture:
            yield picture
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError(
            f"{file}: expected a whole picture, could not read it: {error}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": str(file)},
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
