"""Which section of which image a COCO picture is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from parfocal._errors import InvalidRequestError
from parfocal._exchange.candidates import CandidateSet, Source
from parfocal._images.sections import natural_key


@dataclass(frozen=True)
class Place:
    """A section of an image."""

    source: Source
    section: int


def placed_pictures(
    pictures: Sequence[Mapping[str, Any]], candidates: CandidateSet, *, image: str = ""
) -> dict[int, Place]:
    """Return by the id of a COCO picture where it lies; those that lie in no image are left out.

    A picture that was exported by us says it itself. Where `image` is named, its pictures in
    natural order of their file names are its sections from the first to the last. Otherwise a
    picture is the flat image that has its file's name.

    Raises:
        InvalidRequestError: If a picture has another size than its image, or there is no such
            image, or one with another number of sections (`ERROR_REASON_SHAPE_MISMATCH`).
    """
    if image:
        found = _sections(pictures, _named(candidates, image))
    else:
        found = {}
        for picture in pictures:
            place = _own_words(picture, candidates) or _by_file_name(picture, candidates)
            if place is not None:
                found[picture["id"]] = place
    for picture in pictures:
        if picture["id"] in found:
            _require_size(picture, found[picture["id"]])
    return found


def _named(candidates: CandidateSet, image: str) -> Source:
    source = candidates.source_of(image)
    if source is None:
        known = [each.name for each in candidates.sources]
        raise InvalidRequestError(
            f"the candidate set {candidates.name} is not of the image {image!r}, but of {known}",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": image},
        )
    return source


def _sections(pictures: Sequence[Mapping[str, Any]], source: Source) -> dict[int, Place]:
    if len(pictures) != source.shape[0]:
        raise InvalidRequestError(
            f"{source.name} has {source.shape[0]} section(s), the file {len(pictures)} picture(s)",
            reason="ERROR_REASON_SHAPE_MISMATCH",
            metadata={"shape": str(len(pictures)), "expected": str(source.shape[0])},
        )
    ordered = sorted(pictures, key=lambda picture: natural_key(str(picture["file_name"])))
    return {picture["id"]: Place(source, at) for at, picture in enumerate(ordered)}


def _own_words(picture: Mapping[str, Any], candidates: CandidateSet) -> Place | None:
    source = candidates.source_of(str(picture.get("image", "")))
    section = picture.get("section")
    if source is None or not isinstance(section, int) or not 0 <= section < source.shape[0]:
        return None
    return Place(source, section)


def _by_file_name(picture: Mapping[str, Any], candidates: CandidateSet) -> Place | None:
    source = candidates.source_of(PurePosixPath(str(picture["file_name"])).stem)
    return Place(source, 0) if source is not None and source.shape[0] == 1 else None


def _require_size(picture: Mapping[str, Any], place: Place) -> None:
    size, expected = (picture["height"], picture["width"]), place.source.shape[1:]
    if place.source.objects is not None and size != expected:
        raise InvalidRequestError(
            f"{picture['file_name']} is {size[0]} x {size[1]} (y, x), {place.source.name} "
            f"{expected[0]} x {expected[1]}",
            reason="ERROR_REASON_SHAPE_MISMATCH",
            metadata={"shape": str(size), "expected": str(expected)},
        )
