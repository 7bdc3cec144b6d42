"""The images that candidates were found in: shapes, levels and the size of a voxel."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parfocal_runtime.arrays import array_attributes, open_array
from parfocal_runtime.box import Triple
from parfocal_runtime.errors import InvalidInput, NotFound, PermissionDenied
from parfocal_runtime.store import ObjectStore

AXES = ("z", "y", "x")

# What a path leads to that is none; a store that does not answer is something else.
_ABSENT = (InvalidInput, NotFound, PermissionDenied)

# What OME-Zarr calls units of length, in metres.
_METRES = {
    "angstrom": 1e-10,
    "picometer": 1e-12,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "meter": 1.0,
}


@dataclass(frozen=True)
class SourceImage:
    """An image and its coarser levels.

    Attributes:
        path: Path of the array that candidates were found in.
        name: Last name in its path that is not the number of a level, without a suffix.
        group: Path of its OME-Zarr group; empty where it has none.
        shapes: (z, y, x) of that array and of each coarser level.
        multiscale: What its group says of axes and levels, from that array on; None where
            there is no group.
    """

    path: str
    name: str
    group: str
    shapes: tuple[Triple, ...]
    multiscale: dict[str, Any] | None

    @property
    def shape(self) -> Triple:
        """Voxels (z, y, x) of the array that candidates were found in."""
        return self.shapes[0]

    def voxel_size_m(self) -> tuple[float, float, float] | None:
        """Return the size of a voxel (z, y, x) in metres, or None where it is not known."""
        if self.multiscale is None:
            return None
        units = [_METRES.get(str(axis.get("unit", ""))) for axis in self.multiscale["axes"]]
        scale = _scale(self.multiscale["datasets"][0])
        overall = _scale(self.multiscale)
        sizes = [
            unit * step * more
            for unit, step, more in zip(units, scale, overall, strict=True)
            if unit is not None
        ]
        if len(sizes) != len(AXES) or min(sizes) <= 0:
            return None
        z, y, x = sizes
        return (z, y, x)


def source_image(
    store: ObjectStore, path: str, *, objects: str = "", bounds: Triple = (1, 1, 1)
) -> SourceImage:
    """Return what is known of an image.

    Args:
        store: Where it is.
        path: Path of its array.
        objects: Path of an array of the same shape, in case the image itself is gone.
        bounds: The least shape (z, y, x) that it can have, in case both are gone.
    """
    group = posixpath.dirname(path)
    multiscale = _multiscale(store, group, posixpath.basename(path))
    levels = [
        posixpath.join(group, each["path"]) for each in (multiscale or {}).get("datasets", ())
    ]
    shapes = [_shape(store, level) for level in levels]
    if multiscale is None or None in shapes:
        shape = _shape(store, path) or _shape(store, objects) or bounds
        return SourceImage(path, image_name(path), "", (shape,), None)
    known = tuple(shape for shape in shapes if shape is not None)
    return SourceImage(path, image_name(path), group, known, multiscale)


def image_name(path: str) -> str:
    """Return what to call an image: `vnc` of `projects/p/images/vnc.ome.zarr/0`."""
    parts = path.split("/")
    named = next((part for part in reversed(parts) if part.endswith(".zarr")), parts[-1])
    return named.removesuffix(".zarr").removesuffix(".ome")


def distinct_names(images: Sequence[SourceImage]) -> list[str]:
    """Return a name for each image, with its number before it where two have the same."""
    names = [image.name for image in images]
    if len(set(names)) == len(names):
        return names
    return [f"{number}-{name}" for number, name in enumerate(names)]


def _multiscale(store: ObjectStore, group: str, level: str) -> dict[str, Any] | None:
    """Return the multiscale of axes z, y, x that `level` is part of, from that level on."""
    try:
        attributes = array_attributes(store, group) if group else {}
        found = dict(attributes.get("ome", attributes)["multiscales"][0])
        axes = tuple(axis["name"] for axis in found["axes"])
        paths = [dataset["path"] for dataset in found["datasets"]]
        datasets = found["datasets"][paths.index(level) :]
        steps = [_scale(each) for each in (*datasets, found)]
    except (*_ABSENT, KeyError, IndexError, TypeError, ValueError, AttributeError):
        # An array without such a group around it is an image too, of one level.
        return None
    if axes != AXES or any(len(step) != len(AXES) for step in steps):
        return None
    return {**found, "datasets": datasets}


def _scale(part: dict[str, Any]) -> list[float]:
    transformations = part.get("coordinateTransformations") or ()
    scales = [each["scale"] for each in transformations if each["type"] == "scale"]
    return [float(step) for step in scales[0]] if scales else [1.0] * len(AXES)


def _shape(store: ObjectStore, path: str) -> Triple | None:
    if not path:
        return None
    try:
        z, y, x = open_array(store, path).shape
    except (*_ABSENT, ValueError):
        return None
    return (z, y, x)
