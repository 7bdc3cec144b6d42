"""Annotations of a COCO file, and the candidates that they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parfocal._errors import InvalidRequestError
from parfocal._exchange.answers import Meaning
from parfocal._exchange.candidates import CandidateSet
from parfocal._exchange.masks import Region, region_of
from parfocal._exchange.matching import FileObjects, Overlap, Thing, Unmatched
from parfocal._exchange.pictures import Place, placed_pictures

Progress = Callable[[str, int, int], None]
Integers = npt.NDArray[np.int64]


def coco_things(
    path: Path,
    candidates: CandidateSet,
    *,
    meaning: Meaning,
    image: str = "",
    progress: Progress | None = None,
) -> FileObjects:
    """Return the annotations of a COCO file and by how much candidates are the same.

    An annotation is compared with what its section shows of each candidate: mask with mask, or
    box with box where the file has no mask or the set keeps no objects.

    Args:
        path: The file.
        candidates: The candidate set.
        meaning: What the names of categories say.
        image: The image whose sections the pictures are; else they say it themselves.
        progress: Called with what is being done, the work done and the work in all.

    Raises:
        InvalidRequestError: If it is no COCO file, or no picture of it is of the set.
    """
    document = _document(path)
    places = placed_pictures(document["images"], candidates, image=image)
    if document["images"] and not places:
        raise InvalidRequestError(
            f"{path}: no picture is of an image of the candidate set {candidates.name}; name the "
            "image whose sections they are",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": str(path)},
        )
    names = {each["id"]: str(each["name"]) for each in document["categories"]}
    sections = _Sections(candidates)
    found = FileObjects([], [], _covered(candidates, places))
    annotations = document["annotations"]
    for done, annotation in enumerate(annotations, 1):
        _take_in(found, annotation, places, names, sections, meaning=meaning)
        if progress is not None:
            progress("comparing annotations", done, len(annotations))
    return found


def _take_in(
    found: FileObjects,
    annotation: dict[str, Any],
    places: dict[int, Place],
    names: dict[int, str],
    sections: _Sections,
    *,
    meaning: Meaning,
) -> None:
    name = f"annotation {annotation.get('id')}"
    place = places.get(annotation.get("image_id", -1))
    if place is None:
        found.left_out.append(Unmatched(name, "its picture is no image of the candidate set"))
        return
    if annotation.get("iscrowd"):
        found.left_out.append(Unmatched(name, "it is a crowd, not one object"))
        return
    _, height, width = place.source.shape
    try:
        region = region_of(annotation, height=height, width=width)
        word = names[annotation["category_id"]]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequestError(
            f"{name} is none of COCO's: {error}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": "annotations", "value": str(annotation.get("id"))},
        ) from error
    if region is None:
        found.left_out.append(Unmatched(name, "it has no pixel in its picture"))
        return
    group = f"{place.source.number}/{place.section}"
    found.things.append(Thing(name, meaning.of(word), group))
    found.overlaps.extend(
        Overlap(len(found.things) - 1, candidate, iou)
        for candidate, iou in sections.overlaps(place, region)
    )


class _Sections:
    """Compares regions with what a section shows of candidates."""

    def __init__(self, candidates: CandidateSet) -> None:
        self._candidates = candidates
        self._on = cache(self._found_on)
        self._shown = cache(self._read)

    def overlaps(self, place: Place, region: Region) -> Iterator[tuple[int, float]]:
        """Yield the candidates that a region of a section overlaps, and by how much."""
        if region.is_box or place.source.objects is None:
            yield from self._boxes(place, region)
            return
        h, w = region.mask.shape
        start = (place.section, region.top, region.left)
        block = place.source.read(start, (place.section + 1, region.top + h, region.left + w))
        values, counts = np.unique(block[0][region.mask], return_counts=True)
        for value, both in zip(values.tolist(), counts.tolist(), strict=True):
            if value:
                area, _ = self._shown(place.source.number, place.section, value - 1)
                yield value - 1, both / (region.area + area - both)

    def _boxes(self, place: Place, region: Region) -> Iterator[tuple[int, float]]:
        h, w = region.mask.shape
        top, left, bottom, right = region.top, region.left, region.top + h, region.left + w
        if not region.is_box:
            rows = np.flatnonzero(region.mask.any(axis=1))
            columns = np.flatnonzero(region.mask.any(axis=0))
            top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
            left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        here = self._on(place.source.number, place.section)
        boxes = self._candidates.boxes[here]
        near = (boxes[:, 1] < bottom) & (boxes[:, 4] > top)
        near &= (boxes[:, 2] < right) & (boxes[:, 5] > left)
        for candidate in here[near].tolist():
            _, (y0, x0, y1, x1) = self._shown(place.source.number, place.section, candidate)
            both = max(0, min(bottom, y1) - max(top, y0)) * max(0, min(right, x1) - max(left, x0))
            area = (bottom - top) * (right - left) + (y1 - y0) * (x1 - x0)
            if both:
                yield candidate, both / (area - both)

    def _found_on(self, number: int, section: int) -> Integers:
        boxes = self._candidates.boxes
        inside = (boxes[:, 0] <= section) & (section < boxes[:, 3])
        return np.flatnonzero(inside & (self._candidates.source == number))

    def _read(
        self, number: int, section: int, candidate: int
    ) -> tuple[int, tuple[int, int, int, int]]:
        """Return the area of a candidate on a section, and its box there."""
        source = self._candidates.sources[number]
        z0, y0, x0, z1, y1, x1 = self._candidates.boxes[candidate].tolist()
        if source.objects is None:
            return (y1 - y0) * (x1 - x0), (y0, x0, y1, x1)
        if z1 - z0 == 1 and self._candidates.voxels[candidate]:
            return int(self._candidates.voxels[candidate]), (y0, x0, y1, x1)
        block = source.read((section, y0, x0), (section + 1, y1, x1))[0] == candidate + 1
        rows, columns = np.flatnonzero(block.any(axis=1)), np.flatnonzero(block.any(axis=0))
        if not len(rows):
            return 0, (y0, x0, y0, x0)
        ys, xs = (y0 + rows[[0, -1]]).tolist(), (x0 + columns[[0, -1]]).tolist()
        return int(block.sum()), (ys[0], xs[0], ys[1] + 1, xs[1] + 1)


def _covered(candidates: CandidateSet, places: dict[int, Place]) -> npt.NDArray[np.bool_]:
    shown: dict[int, set[int]] = {}
    for place in places.values():
        shown.setdefault(place.source.number, set()).add(place.section)
    spans = zip(candidates.source.tolist(), candidates.boxes[:, [0, 3]].tolist(), strict=True)
    return np.array(
        [shown.get(number, set()).issuperset(range(*span)) for number, span in spans], bool
    )


def _document(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        document = json.loads(path.read_bytes())
        parts = {name: document[name] for name in ("images", "annotations", "categories")}
        for picture in parts["images"]:
            _ = picture["id"], picture["file_name"], picture["height"], picture["width"]
        for category in parts["categories"]:
            _ = category["id"], category["name"]
        if not all(isinstance(each, dict) for each in parts["annotations"]):
            raise TypeError("an annotation is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(
            f"{path}: expected a COCO file with images, annotations and categories: {error}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"path": str(path)},
        ) from error
    return parts
