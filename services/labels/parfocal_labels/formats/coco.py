"""Accepted candidates as COCO JSON, the format of instance segmentation in pictures.

A flat image is one COCO picture, a stack one for each section on which judged candidates lie. An
accepted candidate is one annotation on each section that it reaches, with its mask there as
uncompressed run lengths (column-major) and `iscrowd` 0, since it is one object. Where the
candidate set does not keep its objects, candidates of one section have boxes only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from parfocal_labels.accepted import Accepted
from parfocal_labels.candidate_sets import impossible
from parfocal_labels.formats.runs import Mask, Runs, masks, runs_of
from parfocal_labels.formats.tiles import Boxes, touched_blocks
from parfocal_runtime.box import Box
from parfocal_runtime.source_images import SourceImage, distinct_names
from parfocal_runtime.tasks import CancelFlag

NAME = "coco"
OBJECT = "object"
"""Category of candidates that were judged right, where no classes are asked for."""

Reader = Callable[[Box], npt.NDArray[Any]]

_TILE = (1, 1024, 1024)


@dataclass(frozen=True)
class Part:
    """One image with candidates of one set in it.

    Attributes:
        image: The image.
        judged: (N, 6) boxes of all candidates in it that people judged, whatever they answered.
        accepted: Those of them that they accepted.
        boxes: (M, 6) boxes of these.
        read: Reads a box of the array with candidate + 1 where each lies; None where the set
            does not keep it.
    """

    image: SourceImage
    judged: Boxes
    accepted: Sequence[Accepted]
    boxes: Boxes
    read: Reader | None


def coco_bytes(
    parts: Sequence[Part], *, snapshot: str, created: datetime, cancel: CancelFlag
) -> bytes:
    """Return the COCO document of some images.

    Args:
        parts: The images.
        snapshot: SHA-256 of the snapshot.
        created: When it was made.
        cancel: Asked between tiles.

    Raises:
        WrongState: If candidates reach over sections and there is no array that says how
            (`ERROR_REASON_EXPORT_IMPOSSIBLE`).
    """
    pictures = _pictures(parts)
    names = {each.class_name or OBJECT for part in parts for each in part.accepted}
    categories = {name: number for number, name in enumerate(sorted(names), 1)}
    # As text already: run lengths as Python's numbers take ten times the room.
    annotations: list[str] = []
    for part in parts:
        for section, accepted, mask in _masks(part, cancel):
            picture = pictures[part.image.path, section]
            annotation = {
                "id": len(annotations) + 1,
                "image_id": picture["id"],
                "category_id": categories[accepted.class_name or OBJECT],
                "bbox": list(mask.box),
                "area": mask.area,
                **_segmentation(mask, picture),
                "iscrowd": 0,
                "attributes": accepted.provenance,
            }
            annotations.append(json.dumps(annotation))
    document = {
        "info": {
            "description": f"Parfocal label snapshot {snapshot}",
            "url": "",
            "version": snapshot,
            "year": created.year,
            "contributor": "",
            "date_created": created.strftime("%Y/%m/%d"),
        },
        "licenses": [],
        "images": list(pictures.values()),
        "categories": [
            {"id": number, "name": name, "supercategory": ""} for name, number in categories.items()
        ],
    }
    head = json.dumps(document).removesuffix("}")
    return f'{head}, "annotations": [{", ".join(annotations)}]}}'.encode()


def _pictures(parts: Sequence[Part]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the COCO picture of each image and section, in order."""
    by_path = {part.image.path: part.image for part in parts}
    sections: dict[str, set[int]] = {path: set() for path in by_path}
    for part in parts:
        for low, high in part.judged[:, [0, 3]].tolist():
            sections[part.image.path].update(range(low, high))
    names = distinct_names(list(by_path.values()))
    pictures: dict[tuple[str, int], dict[str, Any]] = {}
    for name, (path, image) in zip(names, by_path.items(), strict=True):
        depth, height, width = image.shape
        for section in sorted(sections[path]):
            pictures[path, section] = {
                "id": len(pictures) + 1,
                "width": width,
                "height": height,
                "file_name": f"{name}.png" if depth == 1 else f"{name}/{section:05d}.png",
                "image": path,
                "section": section,
            }
    return pictures


def _masks(part: Part, cancel: CancelFlag) -> Iterator[tuple[int, Accepted, Mask]]:
    if part.read is None:
        yield from _boxes_only(part)
        return
    accepted = {each.candidate + 1: each for each in part.accepted}
    wanted = np.zeros(max(accepted, default=0) + 1, bool)
    wanted[list(accepted)] = True
    _, height, width = part.image.shape
    blocks = touched_blocks(part.boxes, part.image.shape, _TILE)
    for section, tiles in groupby(blocks, key=lambda block: block.start[0]):
        runs: list[Runs] = []
        for tile in tiles:
            cancel.check()
            pixels = part.read(tile)[0]
            runs.append(runs_of(pixels, wanted, origin=tile.start[1:], height=height))
        for number, mask in masks(runs, height=height, width=width):
            yield section, accepted[number], mask


def _boxes_only(part: Part) -> Iterator[tuple[int, Accepted, Mask]]:
    for each, (z0, y0, x0, z1, y1, x1) in zip(part.accepted, part.boxes.tolist(), strict=True):
        if z1 - z0 > 1:
            raise impossible(NAME, f"the array of objects in {part.image.name}")
        width, height = x1 - x0, y1 - y0
        yield z0, each, Mask([], (x0, y0, width, height), width * height)


def _segmentation(mask: Mask, picture: dict[str, Any]) -> dict[str, Any]:
    if not mask.counts:
        return {}
    size = [picture["height"], picture["width"]]
    return {"segmentation": {"size": size, "counts": mask.counts}}
