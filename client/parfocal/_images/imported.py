"""Images that are in the object store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from parfocal._errors import InvalidRequestError, NotFoundError
from parfocal._images.omezarr import OmeZarrSource
from parfocal._images.place import place
from parfocal._images.source import Triple, VoxelSize

TRUTH = "truth"
"""Name of the label image with the truth, where there is one."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class ImportedImage:
    """An image in the object store.

    Attributes:
        path: Path of its finest array in the store, as services take it.
        group: Path of its OME-Zarr group.
        truth: Path of the finest array of its truth; empty where there is none.
        shape: Voxels along z, y, x.
        levels: Number of resolution levels.
        voxel_size_nm: Size of a voxel (z, y, x) in nanometres; None where it is not known.
        record: Where it came from and how its voxels became bytes.
    """

    path: str
    group: str
    truth: str
    shape: Triple
    levels: int
    voxel_size_nm: VoxelSize | None
    record: dict[str, Any]


def describe_image(store: str | os.PathLike[str], *, project: str, image: str) -> ImportedImage:
    """Return what is in the object store of an image that was imported.

    Raises:
        NotFoundError: If there is none of that name (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
    """
    path = image_group(project, image)
    group = place(store).below(path)
    document = group.read_json("zarr.json")
    if document is None:
        raise NotFoundError(
            f"there is no image {image!r} in project {project!r}",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": path},
        )
    labels = group.read_json("labels/zarr.json") or {}
    names = labels.get("attributes", {}).get("ome", {}).get("labels", [])
    with OmeZarrSource(group) as source:
        return ImportedImage(
            path=f"{path}/{source.key}",
            group=path,
            truth=f"{path}/labels/{TRUTH}/0" if TRUTH in names else "",
            shape=source.shape,
            levels=source.levels,
            voxel_size_nm=source.voxel_size_nm,
            record=dict(document["attributes"].get("parfocal") or {}),
        )


def image_group(project: str, image: str) -> str:
    """Return the path of an image's group in the object store.

    Raises:
        InvalidRequestError: If a name cannot be part of a path (`ERROR_REASON_INVALID_NAME`).
    """
    for field, name in (("project", project), ("image", image)):
        if not _NAME.fullmatch(name) or ".." in name:
            raise InvalidRequestError(
                f"{field} must be 1 to 63 of a-z, 0-9, '.', '_', '-', got {name!r}",
                reason="ERROR_REASON_INVALID_NAME",
                metadata={"field": field, "value": name},
            )
    return f"projects/{project}/images/{image}.ome.zarr"
