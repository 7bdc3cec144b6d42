"""Accepted candidates as OME-Zarr 0.5 label images, one for each image of a candidate set.

The folder is a Zarr v3 group that lists its label images (`ome.labels`); each of them is a
multiscale of uint32 with the levels, axes and transformations of its image, in which an accepted
candidate has the number candidate + 1. `image-label.source` leads to the image, and
`image-label.properties` says of each number where it comes from.
"""

from __future__ import annotations

import colorsys
import json
import posixpath
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from parfocal_labels.accepted import Accepted
from parfocal_labels.candidate_sets import CandidateSet, impossible
from parfocal_labels.formats.coarsening import coarsening
from parfocal_labels.formats.tiles import Boxes, touched_blocks
from parfocal_runtime.arrays import create_array, open_array, read_box, write_box
from parfocal_runtime.box import Triple
from parfocal_runtime.errors import AlreadyExists
from parfocal_runtime.source_images import AXES, SourceImage, distinct_names
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

NAME = "ome-zarr"

_CHUNK = (16, 128, 128)
_SHARD_SIDE = 512
# Successive hues at this share of the circle never come close to each other.
_GOLDEN = 0.618033988749895


def write_labels(
    store: ObjectStore,
    folder: str,
    candidates: CandidateSet,
    accepted: Sequence[Accepted],
    *,
    snapshot: str,
    cancel: CancelFlag,
) -> None:
    """Write the label images; the group that lists them comes last and completes the folder.

    Blocks are read and written one at a time, and only those that accepted candidates touch.

    Args:
        store: Where the objects of the set are, and where the folder goes.
        folder: Path of the folder.
        candidates: The set.
        accepted: Candidates of it.
        snapshot: SHA-256 of the snapshot that accepts them.
        cancel: Asked between blocks.

    Raises:
        WrongState: If the set does not keep its objects (`ERROR_REASON_EXPORT_IMPOSSIBLE`).
    """
    if not all(candidates.objects):
        raise impossible(NAME, f"the array of objects of {candidates.name}")
    names = distinct_names(candidates.images)
    for number, (image, name) in enumerate(zip(candidates.images, names, strict=True)):
        inside = [each for each in accepted if candidates.source[each.candidate] == number]
        group = f"{folder}/{name}"
        rows = np.array([each.candidate for each in inside], np.int64)
        objects = open_array(store, candidates.objects[number])
        finest = _write_finest(
            store, f"{group}/0", objects, candidates.boxes[rows], wanted=rows + 1, cancel=cancel
        )
        _write_coarser(
            store, group, finest, candidates.boxes[rows], shapes=image.shapes, cancel=cancel
        )
        attributes = label_attributes(image, inside, name=name, group=group, snapshot=snapshot)
        store.write(f"{group}/zarr.json", _group(attributes))
    store.create(f"{folder}/zarr.json", _group({"version": "0.5", "labels": names}))


def label_attributes(
    image: SourceImage, accepted: Sequence[Accepted], *, name: str, group: str, snapshot: str
) -> dict[str, Any]:
    """Return the OME attributes of one label image.

    Args:
        image: The image that it belongs to.
        accepted: The candidates in it.
        name: Its name.
        group: Path of its group, from which the image is found.
        snapshot: SHA-256 of the snapshot.
    """
    classes = sorted({each.class_name for each in accepted} - {""})
    properties = [
        {
            "label-value": each.candidate + 1,
            **each.provenance,
            "annotators": each.provenance["votes"],
            "snapshot": snapshot,
        }
        for each in accepted
    ]
    colors = [
        {
            "label-value": each.candidate + 1,
            "rgba": _color(classes.index(each.class_name) if each.class_name else each.candidate),
        }
        for each in accepted
    ]
    source = posixpath.relpath(image.group or image.path, group)
    return {
        "version": "0.5",
        "multiscales": [_multiscale(image, name)],
        "image-label": {
            "version": "0.5",
            "colors": colors,
            "properties": properties,
            "source": {"image": source},
        },
    }


def _write_finest(
    store: ObjectStore,
    path: str,
    objects: ts.TensorStore,
    boxes: Boxes,
    *,
    wanted: npt.NDArray[np.int64],
    cancel: CancelFlag,
) -> ts.TensorStore:
    """Copy the values that are wanted, in these boxes, and return the array with them."""
    # One more than the highest stands for all that are higher.
    is_wanted = np.zeros(int(wanted.max(initial=0)) + 2, bool)
    is_wanted[wanted] = True
    z, y, x = objects.shape
    array = _level(store, path, (z, y, x))
    for box in touched_blocks(boxes, objects.shape, _shard((z, y, x))):
        cancel.check()
        block = read_box(objects, box)
        write_box(array, box, block * is_wanted[np.minimum(block, len(is_wanted) - 1)])
    return array


def _write_coarser(
    store: ObjectStore,
    group: str,
    finer: ts.TensorStore,
    boxes: Boxes,
    *,
    shapes: Sequence[Triple],
    cancel: CancelFlag,
) -> None:
    """Write the levels below the finest, each from the one before."""
    for level, (above, shape) in enumerate(pairwise(shapes), 1):
        step = coarsening(above, shape)
        boxes = step.boxes(boxes)
        coarse = _level(store, f"{group}/{level}", shape)
        for box in touched_blocks(boxes, shape, _shard(shape)):
            cancel.check()
            write_box(coarse, box, step.apply(read_box(finer, step.source(box)), box))
        finer = coarse


def _level(store: ObjectStore, path: str, shape: Triple) -> ts.TensorStore:
    try:
        return create_array(
            store,
            path,
            shape=shape,
            dtype=np.uint32,
            chunks=_chunk(shape),
            shards=_shard(shape),
            dimension_names=AXES,
        )
    except AlreadyExists:
        # Of an export that was killed, or is under way: then both write the same.
        return open_array(store, path)


def _chunk(shape: Triple) -> list[int]:
    return [min(side, size) for side, size in zip(_CHUNK, shape, strict=True)]


def _shard(shape: Triple) -> list[int]:
    z, *plane = _chunk(shape)
    sides = (
        -(-min(_SHARD_SIDE, size) // chunk) * chunk
        for chunk, size in zip(plane, shape[1:], strict=True)
    )
    return [z, *sides]


def _multiscale(image: SourceImage, name: str) -> dict[str, Any]:
    """Return the multiscale of labels: the image's own, with paths of ours."""
    if image.multiscale is None:
        axes: list[dict[str, Any]] = [{"name": axis, "type": "space"} for axis in AXES]
        step = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
        datasets = [{"path": "0", "coordinateTransformations": step}]
        return {"name": name, "type": "maximum", "axes": axes, "datasets": datasets}
    found = image.multiscale
    overall = found.get("coordinateTransformations")
    return {
        "name": name,
        "type": "maximum",
        "axes": found["axes"],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": dataset["coordinateTransformations"],
            }
            for level, dataset in enumerate(found["datasets"])
        ],
        **({"coordinateTransformations": overall} if overall else {}),
    }


def _color(number: int) -> list[int]:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 1.0)
    return [round(255 * part) for part in (red, green, blue)] + [255]


def _group(attributes: dict[str, Any]) -> bytes:
    """Return the metadata of a Zarr v3 group; on one line, since there may be much of it."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
    return json.dumps(document).encode()
