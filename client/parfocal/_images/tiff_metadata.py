"""Physical sizes in TIFF files: what OME and ImageJ write."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import tifffile

from parfocal._images.source import VoxelSize
from parfocal._images.units import nanometres


def voxel_size_nm(file: tifffile.TiffFile) -> VoxelSize | None:
    """Return the voxel size (z, y, x) in nanometres, or None where the file does not say it."""
    if file.ome_metadata:
        return _ome_size(file.ome_metadata)
    if file.imagej_metadata:
        return _imagej_size(file.imagej_metadata, file.pages[0])
    return None


def _ome_size(document: str) -> VoxelSize | None:
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError:
        return None
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return None
    sides = [
        nanometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    ]
    return _complete(sides)


def _imagej_size(metadata: dict[str, Any], page: Any) -> VoxelSize | None:
    unit = str(metadata.get("unit", ""))
    pixels = [_resolution(page, name) for name in ("YResolution", "XResolution")]
    sides = [nanometres(side, unit) for side in (metadata.get("spacing"), *pixels)]
    return _complete(sides)


def _resolution(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None or not tag.value[0]:
        return None
    pixels, units = tag.value
    return float(units / pixels)


def _complete(sides: list[float | None]) -> VoxelSize | None:
    z, y, x = sides
    return None if z is None or y is None or x is None else (z, y, x)
