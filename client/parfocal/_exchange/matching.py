"""Which candidates are the objects of a file: by how much of them is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Answer = bool | str | None
"""True or False on the proposed mask, the name of a class, or None for unsure."""


@dataclass(frozen=True)
class Thing:
    """An object of a file.

    Attributes:
        name: What the file calls it, such as `annotation 17`.
        answer: What it says of a candidate that is the same.
        group: Inside a group a candidate is at most one thing, and a thing at most one candidate.
    """

    name: str
    answer: Answer
    group: str = ""


@dataclass(frozen=True)
class Overlap:
    """How much of a thing and a candidate is the same.

    Attributes:
        thing: Index of the thing.
        candidate: The candidate.
        iou: Intersection over union, 0 to 1.
    """

    thing: int
    candidate: int
    iou: float


@dataclass(frozen=True)
class Match:
    """A candidate that is a thing of the file."""

    candidate: int
    thing: str
    answer: Answer
    iou: float


@dataclass(frozen=True)
class Unmatched:
    """A thing that is no candidate.

    Attributes:
        thing: What the file calls it.
        reason: Why not.
        candidate: The candidate that overlaps it most; None where none does.
        iou: By how much.
    """

    thing: str
    reason: str
    candidate: int | None = None
    iou: float = 0.0


@dataclass(frozen=True)
class Matching:
    """What became of the things of a file.

    Attributes:
        matches: The candidates that they are, each once, by number.
        unmatched: The things that are none, or that others of the same candidate contradict.
    """

    matches: tuple[Match, ...]
    unmatched: tuple[Unmatched, ...] = ()


@dataclass(frozen=True)
class FileObjects:
    """What a file holds.

    Attributes:
        things: Its objects.
        overlaps: By how much candidates are the same.
        covered: (N,) which candidates the file would show, were they objects.
        left_out: Objects that cannot be any candidate, and why.
    """

    things: list[Thing]
    overlaps: list[Overlap]
    covered: npt.NDArray[np.bool_]
    left_out: list[Unmatched] = field(default_factory=list)


def match(
    things: Sequence[Thing], overlaps: Iterable[Overlap], *, least_iou: float = 0.5
) -> Matching:
    """Return which candidates the things of a file are.

    The pairs that overlap most come first; a thing is one candidate at most, and inside a group a
    candidate one thing at most. Things in several groups, such as an object's masks on several
    sections, may be the same candidate; where they do not answer alike, none of them counts.

    Args:
        things: The objects of the file.
        overlaps: Pairs that overlap, in any order.
        least_iou: Pairs with less in common are no match.
    """
    best: dict[int, Overlap] = {}
    found: dict[int, Overlap] = {}
    groups: dict[str, set[int]] = {}
    for pair in sorted(overlaps, key=lambda each: (-each.iou, each.thing, each.candidate)):
        best.setdefault(pair.thing, pair)
        taken = groups.setdefault(things[pair.thing].group, set())
        if pair.iou >= least_iou and pair.thing not in found and pair.candidate not in taken:
            found[pair.thing] = pair
            taken.add(pair.candidate)
    unmatched = [
        _no_match(thing.name, best.get(number), least_iou=least_iou)
        for number, thing in enumerate(things)
        if number not in found
    ]
    matches, contradicted = _agreed(things, found)
    return Matching(tuple(matches), (*unmatched, *contradicted))


def _no_match(name: str, best: Overlap | None, *, least_iou: float) -> Unmatched:
    if best is None:
        return Unmatched(name, "no candidate overlaps it")
    reason = (
        "its candidate is another object, which overlaps it more"
        if best.iou >= least_iou
        else f"no candidate overlaps it by {least_iou:g}"
    )
    return Unmatched(name, reason, best.candidate, best.iou)


def _agreed(
    things: Sequence[Thing], found: Mapping[int, Overlap]
) -> tuple[list[Match], list[Unmatched]]:
    by_candidate: dict[int, list[Overlap]] = {}
    for pair in found.values():
        by_candidate.setdefault(pair.candidate, []).append(pair)
    matches: list[Match] = []
    contradicted: list[Unmatched] = []
    for candidate, pairs in sorted(by_candidate.items()):
        if len({things[pair.thing].answer for pair in pairs}) == 1:
            thing = things[pairs[0].thing]
            matches.append(Match(candidate, thing.name, thing.answer, pairs[0].iou))
            continue
        contradicted += [
            Unmatched(
                things[pair.thing].name,
                "another object of the same candidate says something else",
                candidate,
                pair.iou,
            )
            for pair in pairs
        ]
    return matches, contradicted
