"""Objects of a file, beside the candidates that they may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from parfocal._errors import InvalidRequestError
from parfocal._exchange.answers import Meaning
from parfocal._exchange.candidates import CandidateSet, Source
from parfocal._exchange.coco import coco_things
from parfocal._exchange.label_images import label_image_things
from parfocal._exchange.matching import FileObjects

Progress = Callable[[str, int, int], None]


def file_objects(
    file: Path,
    candidates: CandidateSet,
    *,
    format: Literal["coco", "label-image"],
    meaning: Meaning,
    image: str = "",
    key: str | None = None,
    progress: Progress | None = None,
) -> FileObjects:
    """Return the objects of a file, compared with candidates.

    Arguments and errors are those of `read_labels`.
    """
    if format == "coco":
        return coco_things(file, candidates, meaning=meaning, image=image, progress=progress)
    source = _source(candidates, image)
    things, overlaps = label_image_things(file, source, meaning=meaning, key=key, progress=progress)
    return FileObjects(things, overlaps, candidates.source == source.number)


def _source(candidates: CandidateSet, image: str) -> Source:
    known = [each.name for each in candidates.sources]
    source = candidates.source_of(image) if image else candidates.sources[0]
    if source is None or (not image and len(known) > 1):
        raise InvalidRequestError(
            f"image must be one of {known}, got {image!r}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": "image", "value": image},
        )
    return source
