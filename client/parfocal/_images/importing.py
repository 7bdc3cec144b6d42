"""Images from files into the object store, as OME-Zarr 0.5."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np

from parfocal._errors import ConflictError, ImageError, InvalidRequestError
from parfocal._images import ngff
from parfocal._images.claim import Claim
from parfocal._images.imported import TRUTH, ImportedImage, describe_image, image_group
from parfocal._images.intensity import measured_intensity
from parfocal._images.opening import open_source
from parfocal._images.place import Place, place
from parfocal._images.pyramid import halved_max, halved_mean, level_shapes
from parfocal._images.source import ImageSource, Triple, VoxelSize
from parfocal._images.truth import TruthKind, measured_truth
from parfocal._images.writing import create_level, write_pyramid
from parfocal._local import local_data

Progress = Callable[[str, int, int], None]


def import_image(
    path: str | os.PathLike[str],
    *,
    project: str,
    image: str,
    store: str | os.PathLike[str] | None = None,
    truth: str | os.PathLike[str] | None = None,
    key: str | None = None,
    truth_key: str | None = None,
    channel: int | None = None,
    truth_kind: TruthKind = "auto",
    voxel_size_nm: VoxelSize | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportedImage:
    """Import an image, and its truth if there is one, into the object store.

    It is written as `projects/<project>/images/<image>.ome.zarr`: OME-Zarr 0.5, uint8, sharded,
    with coarser levels that halve rows and columns (means; for truth the greatest number). The
    group's metadata comes last, so an image is seen when it is complete; memory does not grow
    with the image. What replaces an image is written beside it and takes its place when it is
    complete: an import that fails leaves the image that was there. It has an `edition`, by which
    rounds tell that what was predicted before is not of this image. One process at a time writes an
    image; after one that was killed, the next waits for half a minute.

    Args:
        path: What `open_source` reads.
        project: Name of the project.
        image: Name of the image in it.
        store: Folder or URI of the object store's root; None is that of this user's `parfocal up`.
        truth: Image of the same shape: a mask (nonzero is foreground) or object numbers.
        key: Data set of an HDF5 image.
        truth_key: Data set of an HDF5 truth.
        channel: Channel of an image with several.
        truth_kind: `mask`, `instances`, or `auto`: a mask if there is nothing but 0, 1 and 255.
        voxel_size_nm: Size of a voxel (z, y, x) in nanometres; otherwise what the file says.
        overwrite: Whether to replace an image of that name.
        progress: Called with what is being done, the work done and the work in all.

    Raises:
        ImageError: If a file cannot be read, or the truth has another shape.
        ConflictError: If there is an image of that name, or another process is importing one
            (`ERROR_REASON_ARTIFACT_EXISTS`).
        UnavailableError: If the store cannot be written.

    Example:
        >>> import_image(  # doctest: +SKIP
        ...     "stack1/raw",
        ...     truth="stack1/mitochondria",
        ...     project="vnc",
        ...     image="stack1",
        ...     voxel_size_nm=(50, 4.6, 4.6),
        ... )
    """
    path_of_group = image_group(project, image)
    root = store or local_data().store_uri()
    group = place(root).below(path_of_group)
    with open_source(path, key=key, channel=channel) as source:
        size = _checked_size(voxel_size_nm or source.voxel_size_nm)
        if truth is not None:
            _require_shape(truth, truth_key, source.shape)
        shape = source.shape
        levels = len(level_shapes(shape))
        ome = ngff.image_attributes(
            name=image, levels=levels, voxel_size_nm=size, downscaling="mean"
        )
        with _claimed(place(root), path_of_group, overwrite=overwrite) as claim:

            def step(stage: str, done: int, total: int) -> None:
                _require_held(claim, path_of_group)
                if progress is not None:
                    progress(stage, done, total)

            with _replaced(group, claim) as target:
                record = _write_image(source, target, step)
                if target is not group:
                    record["edition"] = uuid4().hex[:8]
                if truth is not None:
                    _write_truth(truth, truth_key, truth_kind, target, shape, size, step)
                _require_held(claim, path_of_group, ask=True)
                _write_group(target, {"ome": ome, "parfocal": record})
    return describe_image(root, project=project, image=image)


@contextmanager
def _claimed(store: Place, path: str, *, overwrite: bool) -> Iterator[Claim]:
    """Let nobody else write the image while inside the block.

    Raises:
        ConflictError: If it is there and shall not be replaced, or another process is writing it.
    """
    group = store.below(path)
    folder, _, name = path.rpartition("/")
    _require_new(group, path, overwrite=overwrite)
    claim = Claim(store.below(folder), f".parfocal-{name}.claim")
    with claim.held() as is_held:
        if not is_held:
            raise _exists(path, "another process is importing it now")
        # Whoever held it before may have been faster.
        _require_new(group, path, overwrite=overwrite)
        yield claim


def _require_new(group: Place, path: str, *, overwrite: bool) -> None:
    if not overwrite and group.read_json("zarr.json") is not None:
        raise _exists(path, "it can be replaced by overwriting")


def _require_held(claim: Claim, path: str, *, ask: bool = False) -> None:
    if claim.is_lost(ask=ask):
        raise _exists(path, "another process took over, since this one was silent for long")


def _exists(path: str, more: str) -> ConflictError:
    project, image = path.split("/")[1], path.rpartition("/")[2].removesuffix(".ome.zarr")
    return ConflictError(
        f"there is an image {image!r} in project {project!r} already: {more}",
        reason="ERROR_REASON_ARTIFACT_EXISTS",
        metadata={"name": path},
    )


@contextmanager
def _replaced(group: Place, claim: Claim) -> Iterator[Place]:
    """Yield where to write: the folder itself, or one that takes its place at the end."""
    if group.read("zarr.json") is None:
        group.clear()
        yield group
        return
    beside = group.beside(".new")
    beside.clear()
    try:
        yield beside
    except BaseException:
        if not claim.is_lost():
            beside.clear()
        raise
    beside.replace(group)


def _write_image(source: ImageSource, group: Place, progress: Progress | None) -> dict[str, Any]:
    intensity = measured_intensity(source, progress=_stage(progress, "measuring"))
    arrays = [
        create_level(group, level, shape=shape, dtype=np.uint8)
        for level, shape in enumerate(level_shapes(source.shape))
    ]
    write_pyramid(
        source,
        arrays,
        convert=intensity,
        halve=halved_mean,
        uri=group.uri,
        progress=_stage(progress, "writing image"),
    )
    return {
        "source": {"name": source.name, "kind": source.kind, "key": source.key},
        "intensity": intensity.record(),
    }


def _write_truth(
    path: str | os.PathLike[str],
    key: str | None,
    kind: TruthKind,
    group: Place,
    shape: Triple,
    size: VoxelSize | None,
    progress: Progress | None,
) -> None:
    labels = group.below("labels")
    target = labels.below(TRUTH)
    shapes = level_shapes(shape)
    with open_source(path, key=key, labels=True) as source:
        truth = measured_truth(source, kind=kind, progress=_stage(progress, "measuring truth"))
        write_pyramid(
            source,
            [
                create_level(target, level, shape=shape, dtype=truth.dtype)
                for level, shape in enumerate(shapes)
            ],
            convert=truth,
            halve=halved_max,
            uri=target.uri,
            progress=_stage(progress, "writing truth"),
        )
        record = {
            "source": {"name": source.name, "kind": source.kind, "key": source.key},
            "truth": {"kind": truth.kind, "highest": truth.highest},
        }
    ome = ngff.label_attributes(
        name=TRUTH, levels=len(shapes), voxel_size_nm=size, downscaling="max"
    )
    _write_group(target, {"ome": ome, "parfocal": record})
    _write_group(labels, {"ome": ngff.labels_attributes([TRUTH])})


def _write_group(group: Place, attributes: dict[str, Any]) -> None:
    group.write_json(
        "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    )


def _require_shape(path: str | os.PathLike[str], key: str | None, shape: Triple) -> None:
    with open_source(path, key=key, labels=True) as source:
        if source.shape != shape:
            raise ImageError(
                f"{source.name}: truth must have the image's shape {shape} (z, y, x), "
                f"got {source.shape}",
                reason="ERROR_REASON_SHAPE_MISMATCH",
                metadata={
                    "path": str(path),
                    "shape": str(source.shape),
                    "expected": str(shape),
                },
            )


def _checked_size(size: VoxelSize | None) -> VoxelSize | None:
    if size is not None and not all(0 < side < float("inf") for side in size):
        raise InvalidRequestError(
            f"a voxel size is three positive numbers (z, y, x) in nanometres, got {size}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": "voxel_size_nm", "value": str(size)},
        )
    return size


def _stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
