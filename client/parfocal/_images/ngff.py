"""OME-Zarr metadata: what is read is checked, and so is what is written.

The rules are those of ome-zarr-models, the field's own model of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from parfocal._errors import ImageError
from parfocal._images.source import VoxelSize

AXES = ("z", "y", "x")


@dataclass(frozen=True)
class Multiscale:
    """What is needed to read the finest level of an image.

    Attributes:
        path: The level's array, relative to the group.
        levels: Number of levels.
        axes: Name of each axis of the array.
        units: Unit of each axis; empty where none is given.
        scale: Length of one step along each axis, in its unit.
    """

    path: str
    levels: int
    axes: tuple[str, ...]
    units: tuple[str, ...]
    scale: tuple[float, ...]


def checked_multiscale(attributes: Mapping[str, Any], *, version: str, name: str) -> Multiscale:
    """Return the first multiscale image of OME attributes of `version` 0.4 or 0.5.

    Raises:
        ImageError: If the attributes are not those of an image.
    """
    if version == "0.4":
        from ome_zarr_models.v04.image import ImageAttrs as V04

        model: Any = V04
    else:
        from ome_zarr_models.v05.image import ImageAttrs as V05

        model = V05
    try:
        multiscale = model.model_validate(dict(attributes)).multiscales[0]
    except ValueError as error:
        raise ImageError(
            f"{name}: expected the metadata of an OME-Zarr {version} image: {_short(error)}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": name},
        ) from error
    finest = multiscale.datasets[0]
    steps = [float(step) for step in finest.coordinateTransformations[0].scale]
    overall = multiscale.coordinateTransformations
    if overall:
        steps = [a * float(b) for a, b in zip(steps, overall[0].scale, strict=True)]
    return Multiscale(
        path=str(finest.path),
        levels=len(multiscale.datasets),
        axes=tuple(str(axis.name) for axis in multiscale.axes),
        units=tuple(str(axis.unit or "") for axis in multiscale.axes),
        scale=tuple(steps),
    )


def image_attributes(
    *, name: str, levels: int, voxel_size_nm: VoxelSize | None, downscaling: str
) -> dict[str, Any]:
    """Return the checked OME-Zarr 0.5 attributes of an image (z, y, x) halved in plane.

    Level k has voxels of (z, 2^k y, 2^k x), and its first voxel's centre lies half of the
    difference further in. Where the voxel size is not known the steps are plain voxels and the
    axes have no unit.
    """
    from ome_zarr_models.v05.image import ImageAttrs

    attributes = {
        "version": "0.5",
        "multiscales": [_multiscale(name, levels, voxel_size_nm, downscaling)],
    }
    ImageAttrs.model_validate(attributes)
    return attributes


def label_attributes(
    *, name: str, levels: int, voxel_size_nm: VoxelSize | None, downscaling: str
) -> dict[str, Any]:
    """Return the checked OME-Zarr 0.5 attributes of a label image that lies beside its image."""
    from ome_zarr_models.v05.image_label import ImageLabelAttrs

    attributes = {
        "version": "0.5",
        "multiscales": [_multiscale(name, levels, voxel_size_nm, downscaling)],
        "image-label": {"version": "0.5", "source": {"image": "../../"}},
    }
    ImageLabelAttrs.model_validate(attributes)
    return attributes


def labels_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Return the checked OME-Zarr 0.5 attributes of the group that lists label images."""
    from ome_zarr_models.v05.labels import LabelsAttrs

    attributes = {"version": "0.5", "labels": list(names)}
    LabelsAttrs.model_validate(attributes)
    return attributes


def _multiscale(
    name: str, levels: int, voxel_size_nm: VoxelSize | None, downscaling: str
) -> dict[str, Any]:
    unit = {} if voxel_size_nm is None else {"unit": "nanometer"}
    size = voxel_size_nm or (1.0, 1.0, 1.0)
    return {
        "name": name,
        "type": downscaling,
        "axes": [{"name": axis, "type": "space", **unit} for axis in AXES],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(size, level)}
            for level in range(levels)
        ],
    }


def _transformations(size: VoxelSize, level: int) -> list[dict[str, Any]]:
    z, y, x = size
    factor = 2**level
    scale = {"type": "scale", "scale": [z, y * factor, x * factor]}
    if level == 0:
        return [scale]
    shift = (factor - 1) / 2
    return [scale, {"type": "translation", "translation": [0.0, y * shift, x * shift]}]


def _short(error: ValueError) -> str:
    # pydantic prints a page; its first fault says enough.
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
