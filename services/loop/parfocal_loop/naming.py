"""Names that follow from what an artifact is made from."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from parfocal_runtime.layout import prediction_group

_LONGEST = 63


def derived(label: str, *parts: bytes | str) -> str:
    """Return a name of at most 63 characters: `label` and a digest of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    suffix = digest.hexdigest()[:12]
    return f"{label[: _LONGEST - len(suffix) - 1].rstrip('-._')}-{suffix}"


def image_and_level(path: str) -> tuple[str, str]:
    """Return the image's name and its level from the path of an image array.

    `projects/p/images/cortex.ome.zarr/1` is level `1` of `cortex`.
    """
    array = PurePosixPath(path)
    name = re.sub(r"(\.ome)?\.zarr$", "", array.parent.name)
    return (name, array.name) if name else (array.name, "0")


def prediction_array(
    project: str, image: str, model: str, version: int, *, edition: str = "", views: int = 1
) -> str:
    """Return where the probability map of the image array at path `image` belongs.

    Args:
        project: The project.
        image: Path of the image array.
        model: Name of the base model.
        version: Its version.
        edition: What tells the image from others that had its name before; empty is the first.
        views: Views of each window that the map is the mean of.
    """
    name, level = image_and_level(image)
    if edition:
        name = f"{name}-{edition}"
    return f"{prediction_group(project, name, model, version, views=views)}/{level}"
