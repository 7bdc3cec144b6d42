"""Images in and out of files: what `parfocal images import` does. Needs the extra `images`."""

from __future__ import annotations

from importlib.util import find_spec

from parfocal._errors import ParfocalError

_NEEDED = ("h5py", "ome_zarr_models", "PIL", "tensorstore", "tifffile")

for _name in _NEEDED:
    if find_spec(_name) is None:
        raise ParfocalError(f'importing images needs {_name}: pip install "parfocal[images]"')

from parfocal._images.imported import (  # noqa: E402, after the check above
    ImportedImage,
    describe_image,
    image_group,
)
from parfocal._images.importing import Progress, import_image  # noqa: E402
from parfocal._images.opening import open_source  # noqa: E402
from parfocal._images.source import ImageSource  # noqa: E402

__all__ = [
    "ImageSource",
    "ImportedImage",
    "Progress",
    "describe_image",
    "image_group",
    "import_image",
    "open_source",
]
