"""Verdicts for all candidates from the few that people labelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.errors_left import ErrorsLeft
from parfocal_suggestion.pool import Floats, Ids, Mask, Rows
from parfocal_suggestion.reliability import Reliability


class Decided(IntEnum):
    """What decided a verdict."""

    OWN_LABEL = 1
    CELL = 2
    MODEL = 3
    DEFAULT = 4


class Default(IntEnum):
    """What a candidate is before anything is known of it."""

    TRUE = 1
    LABEL_MAJORITY = 2


@dataclass(frozen=True)
class Trust:
    """How far a learned model can be trusted.

    Attributes:
        reliability: Of labels whose group was held out.
        errors_left: Wrong verdicts among the candidates without a label.
        strengths: How much each kind of knowledge was given to say, by name.
    """

    reliability: Reliability
    errors_left: ErrorsLeft
    strengths: Mapping[str, float]


@dataclass(frozen=True)
class Propagated:
    """A verdict for every candidate.

    Attributes:
        verdicts: (N,) bool.
        decided_by: (N,) uint8 of `Decided`.
        probabilities: (N,) float32 that the verdict is True; NaN where the method has none.
        notes: What could not be done as asked.
        decisions: (N,) uint8 of `Decision`; None where they were not asked for.
        trust: How far the verdicts can be trusted; None where the method cannot tell.
    """

    verdicts: Mask
    decided_by: NDArray[np.uint8]
    probabilities: Floats
    notes: list[str] = field(default_factory=list)
    decisions: NDArray[np.uint8] | None = None
    trust: Trust | None = None


def keep_default(count: int, verdicts: Mask, *, default: Default) -> Propagated:
    """Give every candidate the default.

    With the majority of the labels as the default a tie, and no label at all, give True. Where
    most proposals are wrong, "all True" is a bad start.

    Args:
        count: Candidates, N.
        verdicts: (L,) the labels.
        default: Which default.
    """
    start = True
    if default is Default.LABEL_MAJORITY:
        start = bool(2 * np.count_nonzero(verdicts) >= len(verdicts))
    return Propagated(
        verdicts=np.full(count, start, np.bool_),
        decided_by=np.full(count, Decided.DEFAULT, np.uint8),
        probabilities=np.full(count, np.nan, np.float32),
    )


def by_cell_majority(
    cells: NDArray[np.int32], labelled: Rows | Ids, verdicts: Mask, *, default: Default
) -> Propagated:
    """Give every member of a cell the majority of the cell's labelled members.

    A tie, a cell without labelled members, and candidates in no cell keep the default.

    Z. Lin et al., Two Stream Active Query Suggestion for Active Learning in Connectomics,
    ECCV 2020, section 4.1.

    Args:
        cells: (N,) cell of each candidate, -1 for none.
        labelled: (L,) rows of the labelled candidates.
        verdicts: (L,) their labels.
        default: What undecided candidates get.
    """
    start = keep_default(len(cells), verdicts, default=default)
    count = int(cells.max(initial=-1)) + 1
    inside = cells[labelled] >= 0
    votes = np.where(verdicts, 1, -1)[inside]
    balance = np.bincount(cells[labelled][inside], weights=votes, minlength=count)
    # The last entry is what cell -1 reads: no majority.
    balance = np.append(balance, 0)[cells]
    decided = balance != 0
    return Propagated(
        verdicts=np.where(decided, balance > 0, start.verdicts),
        decided_by=np.where(decided, np.uint8(Decided.CELL), start.decided_by),
        probabilities=start.probabilities,
    )


def with_own_labels(propagated: Propagated, labelled: Rows | Ids, verdicts: Mask) -> Propagated:
    """Return the same where labelled candidates keep their own label.

    Args:
        propagated: Verdicts of N candidates.
        labelled: (L,) rows of the labelled candidates.
        verdicts: (L,) their labels.
    """
    final, decided_by = propagated.verdicts.copy(), propagated.decided_by.copy()
    final[labelled] = verdicts
    decided_by[labelled] = Decided.OWN_LABEL
    return replace(propagated, verdicts=final, decided_by=decided_by)
