"""Chooses what the report shows: sections, the same place before and after, suggestions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parfocal.labels.v1.label_pb2 import VERDICT_FALSE, VERDICT_TRUE
from parfocal.labels.v1.query_pb2 import QUERY_ROLE_RANDOM
from parfocal_demo.arms import ArmResult
from parfocal_demo.artifacts import PROJECT, Artifacts, CandidateSet
from parfocal_demo.crops import CropBox
from parfocal_demo.report.findings import Suggestion
from parfocal_demo.report.pictures import (
    Outline,
    Plate,
    crop_around,
    outline,
    plate,
    rectangle,
)
from parfocal_demo.scoring import Scored
from parfocal_demo.specs import Specs

if TYPE_CHECKING:
    from parfocal import Client

_SHOWN = 24
_SIDE = 96
_COMPARED_SIDE = 176
_LONG_NUMBER = re.compile(r"(\d\.\d{2})\d+")
_ANSWERS = {VERDICT_TRUE: "true", VERDICT_FALSE: "false"}


def overview(specs: Specs) -> Plate:
    """Return a section with the parts of the split and the crops."""
    z = specs.crops[0].start[0]
    section = specs.artifacts.image[z]
    gap = rectangle(0, specs.train.stop[2], section.shape[0], specs.test.start[2])
    outlines = [Outline(gap, "part"), Outline(rectangle(*_flat(specs.test)), "test")]
    outlines += [Outline(rectangle(*_flat(crop)), "crop") for crop in specs.crops]
    caption = (
        f"Left of the dark gap the part that trains, with the {len(specs.crops)} labelled crops "
        "of all sections; right, dashed, the part that scores."
    )
    return plate(section, tuple(outlines), title=f"Section {z}.", caption=caption)


def comparison(specs: Specs, models: Sequence[tuple[str, Scored]]) -> tuple[Plate, ...]:
    """Return one place of the test part: the truth, then what each model proposes there.

    It is the place where the first and the last models differ most.

    Args:
        specs: The campaign.
        models: A title and the scored model of each plate, the base model first.
    """
    first, *others = [scored.candidates for _, scored in models]
    z, window = _most_changed(specs.test, first, others)
    section = specs.artifacts.image[z][window]
    truth = Outline(outline(specs.artifacts.truth[z][window]), "truth")
    plates = [plate(section, (truth,), title="Ground truth", caption=f"Section {z}.")]
    for title, scored in models:
        lines = _judged(scored.candidates, z, window)
        plates.append(plate(section, lines, title=title))
    return tuple(plates)


def suggestions(
    client: Client, artifacts: Artifacts, arm: ArmResult
) -> tuple[tuple[Suggestion, ...], tuple[Plate, ...]]:
    """Return some queries of an arm, spread evenly over each round's queue, and their pictures."""
    facts: list[Suggestion] = []
    plates: list[Plate] = []
    share = max(1, _SHOWN // max(1, len(arm.names)))
    for number, (name, status) in enumerate(zip(arm.names, arm.statuses, strict=True), start=1):
        candidates = artifacts.candidates(status.candidates)
        shown = _of_round(client, candidates, name, number, most=share)
        facts += shown
        plates += [_suggestion_plate(artifacts, candidates, one.candidate) for one in shown]
    return tuple(facts), tuple(plates)


def _of_round(
    client: Client, candidates: CandidateSet, name: str, number: int, *, most: int
) -> list[Suggestion]:
    queries = sorted(client.labels.queries(PROJECT, round=name), key=lambda query: query.rank)
    wanted = np.unique(np.linspace(0, len(queries) - 1, min(most, len(queries))).round())
    chosen = [queries[int(place)] for place in wanted]
    verdicts = {one.candidate: one.verdict for one in client.labels.consensus(PROJECT, round=name)}
    texts = {
        one.candidate: one.text
        for one in client.suggestions.explain(
            PROJECT, name, candidates=[query.candidate for query in chosen]
        )
    }
    return [
        Suggestion(
            round=number,
            rank=query.rank,
            candidate=query.candidate,
            role="random" if query.role == QUERY_ROLE_RANDOM else "strategy",
            reason=_LONG_NUMBER.sub(r"\1", texts[query.candidate]),
            answer=_ANSWERS.get(verdicts[query.candidate], "unsure"),
            correct=bool(candidates.correct[query.candidate]),
        )
        for query in chosen
    ]


def _suggestion_plate(artifacts: Artifacts, candidates: CandidateSet, candidate: int) -> Plate:
    _, y0, x0, _, y1, x1 = (int(side) for side in candidates.boxes[candidate])
    z = int(candidates.section[candidate])
    mask = candidates.objects[z] == candidate + 1
    return crop_around(artifacts.image[z], mask, (y0, x0, y1, x1), side=_SIDE, style="proposal")


def _flat(box: CropBox) -> tuple[int, int, int, int]:
    return box.start[1], box.start[2], box.stop[1], box.stop[2]


def _most_changed(
    part: CropBox, first: CandidateSet, others: Sequence[CandidateSet]
) -> tuple[int, tuple[slice, slice]]:
    """Return the section and the window in which most proposed pixels came or went."""
    depth, height, width = np.subtract(part.stop, part.start).tolist()
    changed = np.zeros((depth, height, width), np.int32)
    for other in others:
        changed += (first.objects[part.slices] > 0) != (other.objects[part.slices] > 0)
    side = min(_COMPARED_SIDE, height, width)
    places = product(range(depth), range(0, height - side + 1, 16), range(0, width - side + 1, 16))
    z, y, x = max(
        places, key=lambda at: changed[at[0], at[1] : at[1] + side, at[2] : at[2] + side].sum()
    )
    z, y, x = z + part.start[0], y + part.start[1], x + part.start[2]
    return z, (slice(y, y + side), slice(x, x + side))


def _judged(candidates: CandidateSet, z: int, window: tuple[slice, slice]) -> tuple[Outline, ...]:
    objects = candidates.objects[z][window]
    correct: NDArray[np.bool_] = np.append(False, candidates.correct)[objects]
    proposed = objects > 0
    return (
        Outline(outline(proposed & correct), "good"),
        Outline(outline(proposed & ~correct), "bad"),
    )
