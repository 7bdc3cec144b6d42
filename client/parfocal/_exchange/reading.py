"""Labels of files of other programs, as they are imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from parfocal._boxes import box_to_pb, model_to_pb
from parfocal._errors import InvalidRequestError, ParfocalError
from parfocal._exchange.answers import meaning
from parfocal._exchange.csv import Line, csv_lines
from parfocal._exchange.matching import Answer, Match, Unmatched, match
from parfocal._local import local_data
from parfocal._names import last_part
from parfocal.labels.v1.label_pb2 import VERDICT_FALSE, VERDICT_TRUE, VERDICT_UNSURE
from parfocal.labels.v1.labels_service_pb2 import Answer as AnswerMessage
from parfocal.labels.v1.labels_service_pb2 import ImportedLabel
from parfocal.labels.v1.project_pb2 import Project
from parfocal.labels.v1.query_pb2 import QUERY_ROLE_RANDOM, QUERY_ROLE_STRATEGY, Query

if TYPE_CHECKING:
    from parfocal._exchange.candidates import CandidateSet

LabelFormat = Literal["csv", "coco", "label-image"]
Progress = Callable[[str, int, int], None]

_LARGEST_RANK = 2**31 - 1
_ROLES = {"random": QUERY_ROLE_RANDOM}


@dataclass(frozen=True)
class FoundLabels:
    """The labels of a file.

    Attributes:
        labels: What `client.labels.import_labels` takes.
        matches: The objects of the file that are candidates; empty for CSV.
        unmatched: Those that are none, and why.
        left_out: Lines without a label, by the reason; empty but for CSV.
    """

    labels: tuple[ImportedLabel, ...]
    matches: tuple[Match, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()


def read_labels(
    path: str | os.PathLike[str],
    *,
    format: LabelFormat,
    project: Project,
    round: str = "",
    candidate_set: str = "",
    store: str | os.PathLike[str] | None = None,
    image: str = "",
    classes: Iterable[str] = (),
    least_iou: float = 0.5,
    exhaustive: bool = False,
    source: str = "",
    key: str | None = None,
    progress: Progress | None = None,
) -> FoundLabels:
    """Return the labels of a file; nothing is sent.

    A CSV names candidates by their numbers. The objects of a COCO file or a label image become
    labels of the candidates that are the same: intersection over union of `least_iou` or more,
    each object one candidate and each candidate one object. All others are told in `unmatched`.

    Args:
        path: The file; for a label image what `open_source` reads.
        format: What it is.
        project: The project that takes the labels.
        round: The round that they belong to; a CSV may name it itself.
        candidate_set: The candidate set; a CSV may name it itself.
        store: Folder or URI of the object store with the candidate set; not needed for CSV.
        image: The image of the set that the file is of; needed where it does not say so itself.
        classes: What the file's words mean, `WORD=ANSWER` each, such as `3=glia`; `*` stands for
            all others. Words are names of categories, numbers of objects, or answers in a CSV.
        least_iou: How much of an object and a candidate must be the same, above 0, to 1.
        exhaustive: Whether the file shows every object there is, so that candidates in its
            pictures that are none of them are answered False; in projects that verify only.
        source: Who gave the labels; the format and the name of the file if empty.
        key: Data set of an HDF5 label image.
        progress: Called with what is being done, the work done and the work in all.

    Raises:
        InvalidRequestError: If the file is not what it should be, or a word of it says nothing
            in the project.
        ImageError: If a label image cannot be read or has another shape than its image.
        NotFoundError: If the candidate set is not there (`ERROR_REASON_ARTIFACT_NOT_FOUND`).

    Example:
        >>> found = read_labels(  # doctest: +SKIP
        ...     "truth.tif", format="label-image", project=client.projects.get("vnc"),
        ...     round="imported", candidate_set="set-1", store="file:///data/store",
        ... )
        >>> client.labels.import_labels("vnc", found.labels).added  # doctest: +SKIP
    """
    file = Path(path)
    means = meaning(project, classes)
    who = source or f"{format}:{file.name}"
    if format == "csv":
        lines = csv_lines(file, meaning=means, round=last_part(round), candidate_set=candidate_set)
        labels = tuple(_of_line(line, who) for line in lines.labels)
        return FoundLabels(labels, left_out=tuple(lines.left_out.items()))
    _require("round", round)
    _require("candidate_set", candidate_set)
    if exhaustive and means.classes:
        raise _wrong("exhaustive", "goes with projects that verify only", exhaustive)
    if not 0 < least_iou <= 1:
        raise _wrong("least_iou", "must be above 0 and at most 1", least_iou)
    open_set, objects_of = _matching_modules()
    root = store or local_data().store_uri()
    candidates = open_set(root, project=project.name, name=candidate_set)
    objects = objects_of(
        file, candidates, format=format, meaning=means, image=image, key=key, progress=progress
    )
    found = match(objects.things, objects.overlaps, least_iou=least_iou)
    answers: dict[int, Answer] = {each.candidate: each.answer for each in found.matches}
    if exhaustive:
        # What two objects of the file say different things of is not shown to be wrong.
        disputed = {each.candidate for each in found.unmatched if each.iou >= least_iou}
        for row in objects.covered.nonzero()[0].tolist():
            if row not in disputed:
                answers.setdefault(row, False)
    labels = tuple(
        _of_candidate(candidates, number, answer, round=last_part(round), source=who)
        for number, answer in sorted(answers.items())
    )
    return FoundLabels(labels, found.matches, (*objects.left_out, *found.unmatched))


def _matching_modules() -> tuple[Any, Any]:
    """Return what opens a candidate set and what compares a file with it; CSV needs neither."""
    try:
        from parfocal._exchange.candidates import open_candidate_set
        from parfocal._exchange.objects import file_objects
    except ModuleNotFoundError as error:
        raise ParfocalError(
            f'matching with candidates needs {error.name}: pip install "parfocal[images]"'
        ) from error
    return open_candidate_set, file_objects


def _of_line(line: Line, source: str) -> ImportedLabel:
    query = Query(
        round=line.round,
        candidate_set=line.candidate_set,
        candidate=line.candidate,
        rank=line.rank,
        role=_ROLES.get(line.role, QUERY_ROLE_STRATEGY),
        strategy=line.strategy,
        model=model_to_pb(line.model) if line.model else None,
    )
    who = f"{source}:{line.annotator}" if line.annotator else source
    return ImportedLabel(query=query, answer=_answer(line.answer, line.seconds), source=who)


def _of_candidate(
    candidates: CandidateSet, number: int, answer: Answer, *, round: str, source: str
) -> ImportedLabel:
    z0, y0, x0, z1, y1, x1 = candidates.boxes[number].tolist()
    query = Query(
        round=round,
        candidate_set=candidates.name,
        candidate=number,
        rank=min(number, _LARGEST_RANK),
        role=QUERY_ROLE_STRATEGY,
        strategy="import",
        model=model_to_pb(candidates.model) if candidates.model else None,
        image=candidates.sources[int(candidates.source[number])].path,
        box=box_to_pb(((z0, y0, x0), (z1, y1, x1))),
        patches=candidates.patches,
    )
    return ImportedLabel(query=query, answer=_answer(answer), source=source)


def _answer(answer: Answer, seconds: float = 0.0) -> AnswerMessage:
    if isinstance(answer, str):
        return AnswerMessage(class_name=answer, seconds=seconds)
    verdict = {True: VERDICT_TRUE, False: VERDICT_FALSE, None: VERDICT_UNSURE}[answer]
    return AnswerMessage(verdict=verdict, seconds=seconds)


def _require(field: str, value: str) -> None:
    if not value:
        raise _wrong(field, "must be given", value)


def _wrong(field: str, demand: str, value: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"{field} {demand}, got {value!r}",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"field": field, "value": str(value)},
    )
