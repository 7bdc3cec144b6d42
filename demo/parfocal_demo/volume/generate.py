"""From a specification to an image with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parfocal_demo.volume.bodies import Body, Kind, place_bodies
from parfocal_demo.volume.cytoplasm import draw_cytoplasm, draw_looks, draw_walls
from parfocal_demo.volume.microscope import misalignment, record_section
from parfocal_demo.volume.neurites import Tissue, cut_sections, pack_neurites
from parfocal_demo.volume.noise import Field
from parfocal_demo.volume.organelles import draw_body
from parfocal_demo.volume.spec import VolumeSpec

_MARGIN = 24
"""Pixels generated around the volume, so that bodies and warps may cross its faces."""


@dataclass(frozen=True)
class SyntheticVolume:
    """An EM-like volume and what is in it.

    Attributes:
        image: Grey values, uint8 (z, y, x).
        mitochondria: Instance of each voxel, 0 where there is none, uint16 (z, y, x).
        lookalikes: Kind of the body in each voxel: 0 none, 1 dense body, 2 lamellar body,
            3 multivesicular body, 4 membrane stack; uint8 (z, y, x).
        spec: What it was made from.
    """

    image: NDArray[np.uint8]
    mitochondria: NDArray[np.uint16]
    lookalikes: NDArray[np.uint8]
    spec: VolumeSpec


def generate_volume(spec: VolumeSpec) -> SyntheticVolume:
    """Generate a volume of neuropil with ground truth of its mitochondria.

    The same `spec` gives the same bytes on the same numpy and scipy.
    """
    packing, cutting, looks, bodies, imaging = (
        np.random.default_rng(child) for child in np.random.SeedSequence(spec.seed).spawn(5)
    )
    depth, height, width = spec.shape
    extent = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    pixel = spec.voxel_size_nm[2]
    tissue = cut_sections(
        pack_neurites(packing, extent, pixel_nm=pixel), cutting, (depth, *extent), pixel_nm=pixel
    )
    grey = draw_cytoplasm(draw_looks(looks, tissue.glia), tissue, looks)
    grey = draw_walls(grey, tissue, looks, oblique_share=spec.oblique_share)
    crowd = place_bodies(spec, tissue, bodies)
    instances, kinds = _draw_crowd(crowd, grey, tissue)
    return _photograph(spec, grey, instances, kinds, imaging)


def _draw_crowd(
    crowd: list[Body], grey: Field, tissue: Tissue
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Draw every body into `grey` and return the instance and the kind of each voxel."""
    instances = np.zeros(grey.shape, np.uint16)
    kinds = np.zeros(grey.shape, np.uint8)
    codes = {kind: code for code, kind in enumerate(Kind)}
    for number, body in enumerate(crowd, start=1):
        for z in body.sections(len(grey)):
            patch = draw_body(body, z, tissue)
            if patch is None:
                continue
            section = grey[z][patch.window]
            section += patch.cover * (patch.grey - section)
            if body.kind is Kind.MITOCHONDRION:
                instances[z][patch.window][patch.inside] = number
            else:
                kinds[z][patch.window][patch.inside] = codes[body.kind]
    return instances, kinds


def _photograph(
    spec: VolumeSpec,
    grey: Field,
    instances: NDArray[np.uint16],
    kinds: NDArray[np.uint8],
    rng: np.random.Generator,
) -> SyntheticVolume:
    """Misalign the sections, the truth with them, cut the margin off and record the pictures."""
    inner = (slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN))
    image = np.empty(spec.shape, np.uint8)
    truth = np.empty(spec.shape, np.uint16)
    others = np.empty(spec.shape, np.uint8)
    for z in range(spec.shape[0]):
        source = misalignment(rng, grey.shape[1:], pixel_nm=spec.voxel_size_nm[2])
        moved = ndimage.map_coordinates(grey[z], source, order=1, mode="nearest")
        image[z] = record_section(moved, rng)[inner]
        truth[z] = ndimage.map_coordinates(instances[z], source, order=0, mode="nearest")[inner]
        others[z] = ndimage.map_coordinates(kinds[z], source, order=0, mode="nearest")[inner]
    return SyntheticVolume(image, truth, others, spec)
