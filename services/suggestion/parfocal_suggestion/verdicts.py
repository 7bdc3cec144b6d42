"""Verdicts for a whole candidate set, from its tables in the object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_suggestion.archive import load
from parfocal_suggestion.confidence import by_confidence_and_area, predictors
from parfocal_suggestion.order import CandidateSet, read_candidates
from parfocal_suggestion.pool import Ids, Mask, Pool
from parfocal_suggestion.propagation import (
    Default,
    Propagated,
    by_cell_majority,
    keep_default,
    with_own_labels,
)


@dataclass(frozen=True)
class CellMajority:
    """By the cells of this selection."""

    project: str
    selection: str


@dataclass(frozen=True)
class ConfidenceAndArea:
    """By a logistic regression on the base model's confidence and the area."""


@dataclass(frozen=True)
class KeepDefault:
    """Not at all."""


Method: TypeAlias = CellMajority | ConfidenceAndArea | KeepDefault


@dataclass(frozen=True)
class Wish:
    """What a caller wants to know of a candidate set.

    Attributes:
        candidates: Folder of the candidate set.
        method: How labels are carried.
        labelled: (L,) ids of the labelled candidates.
        verdicts: (L,) their labels.
        default: What undecided candidates get.
        overrule_own: Let the method overrule a candidate's own label.
    """

    candidates: str
    method: Method
    labelled: Ids
    verdicts: Mask
    default: Default = Default.TRUE
    overrule_own: bool = False


def propagate(store: ObjectStore, wish: Wish) -> Propagated:
    """Give every candidate of a set a verdict.

    Raises:
        NotFound: If the set or the selection is not there.
        InvalidInput: If labels name unknown candidates, or the selection is of another set.
    """
    table = read_candidates(store, wish.candidates)
    pool = Pool.of(table.candidates, labelled=wish.labelled, verdicts=wish.verdicts)
    propagated = _carried(store, table, wish.method, pool, wish.default)
    if wish.overrule_own:
        return propagated
    return with_own_labels(propagated, pool.labelled, pool.verdicts)


def _carried(
    store: ObjectStore, table: CandidateSet, method: Method, pool: Pool, default: Default
) -> Propagated:
    if isinstance(method, CellMajority):
        cells, notes = _cells_of(store, table, method)
        carried = by_cell_majority(cells, pool.labelled, pool.verdicts, default=default)
        return Propagated(carried.verdicts, carried.decided_by, carried.probabilities, notes)
    if isinstance(method, ConfidenceAndArea):
        features = predictors(table.area, table.mean_probability, table.max_probability)
        return by_confidence_and_area(features, pool.labelled, pool.verdicts, default=default)
    return keep_default(len(pool), pool.verdicts, default=default)


def _cells_of(
    store: ObjectStore, table: CandidateSet, method: CellMajority
) -> tuple[NDArray[np.int32], list[str]]:
    stored = load(store, method.project, method.selection)
    beside = read_table(store, stored.record.cells)
    if not np.array_equal(beside.column("candidate").to_numpy(), table.candidates):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the selection {method.selection!r} is of another candidate set",
            field="cell_majority.selection",
            value=method.selection,
        )
    cells = beside.column("cell").to_numpy()
    if np.all(cells == -1):
        return cells, [f"{stored.record.strategy} has no cells: every candidate keeps the default"]
    return cells, []
