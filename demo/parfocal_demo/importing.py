"""Brings the image and its truth into the object store."""

from __future__ import annotations

from pathlib import Path

import tifffile

from parfocal import NotFoundError, describe_image, import_image
from parfocal_demo.artifacts import IMAGE, PROJECT
from parfocal_demo.following import Follower
from parfocal_demo.report.findings import InputFacts
from parfocal_demo.settings import WORKED_ON_PIXELS, Settings
from parfocal_demo.volume import VolumeSpec, generate_volume
from parfocal_runtime.store import ObjectStore


def import_volume(settings: Settings, store: ObjectStore, folder: Path, follower: Follower) -> None:
    """Import the image that the settings name, or generate one; what is there is kept."""
    try:
        describe_image(store.root, project=PROJECT, image=IMAGE)
    except NotFoundError:
        images, truth, size = settings.images, settings.truth, settings.voxel_size_nm
        if images is None or truth is None:
            images, truth, size = _generate(settings, folder, follower)
        with follower.local("Import") as show:
            import_image(
                images,
                truth=truth,
                project=PROJECT,
                image=IMAGE,
                store=store.root,
                voxel_size_nm=size,
                progress=lambda doing, done, total: show(done / max(total, 1), doing),
            )


def input_facts(settings: Settings, store: ObjectStore, *, foreground_share: float) -> InputFacts:
    """Return what was imported, at the level that is worked on."""
    image = describe_image(store.root, project=PROJECT, image=IMAGE)
    level = worked_on_level(settings, store)
    depth, height, width = image.shape
    shape = (depth, -(-height // 2**level), -(-width // 2**level))
    return InputFacts(
        source="generated" if settings.images is None else str(settings.images),
        truth="generated" if settings.truth is None else str(settings.truth),
        shape=shape,
        voxel_size_nm=_coarser(image.voxel_size_nm, level),
        level=level,
        foreground_share=foreground_share,
    )


def worked_on_level(settings: Settings, store: ObjectStore) -> int:
    """Return the level that was asked for, or the finest whose sides are short enough."""
    image = describe_image(store.root, project=PROJECT, image=IMAGE)
    if settings.level is not None:
        return min(settings.level, image.levels - 1)
    longest = max(image.shape[1:])
    short = (level for level in range(image.levels) if longest / 2**level <= WORKED_ON_PIXELS)
    return next(short, image.levels - 1)


def _generate(
    settings: Settings, folder: Path, follower: Follower
) -> tuple[Path, Path, tuple[float, float, float]]:
    spec = VolumeSpec(seed=settings.seed)
    with follower.local("Generate the volume"):
        volume = generate_volume(spec)
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            folder / "image.tif", volume.image, compression="zlib", photometric="minisblack"
        )
        tifffile.imwrite(
            folder / "mitochondria.tif",
            volume.mitochondria,
            compression="zlib",
            photometric="minisblack",
        )
    return folder / "image.tif", folder / "mitochondria.tif", spec.voxel_size_nm


def _coarser(
    size: tuple[float, float, float] | None, level: int
) -> tuple[float, float, float] | None:
    return None if size is None else (size[0], size[1] * 2**level, size[2] * 2**level)
