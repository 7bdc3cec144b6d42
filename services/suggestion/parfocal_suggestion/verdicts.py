"""Verdicts for a whole candidate set, from its tables in the object store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_suggestion.archive import Stored, load
from parfocal_suggestion.confidence import by_confidence_and_area, predictors
from parfocal_suggestion.geometry import COLUMNS, REQUIRED
from parfocal_suggestion.knowledge import knowledge
from parfocal_suggestion.learned_propagation import Labels, by_learned_model
from parfocal_suggestion.order import (
    CandidateSet,
    Stream,
    read_candidates,
    read_stream,
)
from parfocal_suggestion.pool import Ids, Mask, Pool, labels_in_order, named
from parfocal_suggestion.propagation import (
    Default,
    Propagated,
    by_cell_majority,
    keep_default,
    with_own_labels,
)
from parfocal_suggestion.suggest import Role


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


@dataclass(frozen=True)
class LearnedModel:
    """By a model of everything that is known.

    Attributes:
        streams: The embeddings.
        groups: (N,) group of each candidate, or nothing.
        drawn: Labelled candidates that were drawn at random.
        selections: Project and name of selections whose random picks were drawn, too.
        error_rate: Wrong share to allow on each side; 0 asks for no decisions.
        seed: The seed.
    """

    streams: tuple[Stream, ...] = ()
    groups: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    drawn: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    selections: tuple[tuple[str, str], ...] = ()
    error_rate: float = 0.0
    seed: int = 0


Method: TypeAlias = CellMajority | ConfidenceAndArea | KeepDefault | LearnedModel


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
        InvalidInput: If labels name unknown candidates, the selection is of another set, or the
            method goes by numbers that are missing or not finite.
    """
    table = read_candidates(store, wish.candidates)
    labelled, verdicts = labels_in_order(
        table.candidates, wish.labelled, wish.verdicts, field="labels"
    )
    pool = Pool.of(table.candidates, labelled=labelled, verdicts=verdicts)
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
        known = table.columns(REQUIRED)
        features = predictors(*(known[name] for name in REQUIRED))
        return by_confidence_and_area(features, pool.labelled, pool.verdicts, default=default)
    if isinstance(method, LearnedModel):
        return _learned(store, table, method, pool, default)
    return keep_default(len(pool), pool.verdicts, default=default)


def _learned(
    store: ObjectStore, table: CandidateSet, method: LearnedModel, pool: Pool, default: Default
) -> Propagated:
    streams = {stream.name: read_stream(store, stream) for stream in method.streams}
    checked = Pool.of(table.candidates, streams=streams)
    groups = _groups(method.groups, len(pool))
    known = knowledge(table.columns(COLUMNS), checked.streams, groups)
    labels, notes = _labels(store, table, method, pool)
    carried = by_learned_model(
        known, labels, error_rate=method.error_rate, seed=method.seed, default=default
    )
    return replace(carried, notes=[*notes, *carried.notes])


def _groups(groups: Ids, count: int) -> Ids | None:
    if not len(groups):
        return None
    if len(groups) != count:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"learned_model.groups has {len(groups)} values for {count} candidates",
            field="learned_model.groups",
            shape=len(groups),
            expected=count,
        )
    return groups


def _labels(
    store: ObjectStore, table: CandidateSet, method: LearnedModel, pool: Pool
) -> tuple[Labels, list[str]]:
    """Return the labels, which of them were drawn uniformly and from what, and notes on that."""
    unlabelled = np.setdiff1d(method.drawn, pool.labelled)
    if len(unlabelled):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"learned_model.random_share names candidates without a label: {named(unlabelled)}",
            field="learned_model.random_share",
            value=named(unlabelled),
        )
    drawn, notes = np.isin(pool.labelled, method.drawn), []
    drawn_from = np.ones(len(pool), np.bool_)
    for project, selection in method.selections:
        stored = load(store, project, selection)
        beside = _check_same_set(store, table, stored, selection, field="learned_model.selections")
        if stored.record.random_weights or stored.record.constraints:
            notes.append(
                f"the random picks of the selection {selection!r} were not drawn uniformly from "
                "the whole set, because of weights or constraints: they calibrate nothing"
            )
            continue
        at_random = stored.picks.filter(pc.field("role") == Role.RANDOM)
        picks = stored.picks if stored.record.strategy == "random" else at_random
        labelled = np.isin(pool.labelled, picks.column("candidate").to_numpy())
        if np.any(labelled):
            drawn |= labelled
            drawn_from &= beside.column("state").cast(pa.string()).to_numpy() != "excluded"
    left_out = np.count_nonzero(pool.unlabelled & ~drawn_from)
    if left_out:
        notes.append(
            f"{left_out} candidates were excluded from the random draw, which says nothing of "
            "them: they are to be looked at, and the errors left do not count theirs"
        )
    # What one draw left out is no part of what all of them together speak for.
    drawn &= drawn_from[pool.labelled]
    return Labels(pool.labelled, pool.verdicts, drawn, drawn_from), notes


def _cells_of(
    store: ObjectStore, table: CandidateSet, method: CellMajority
) -> tuple[NDArray[np.int32], list[str]]:
    stored = load(store, method.project, method.selection)
    beside = _check_same_set(
        store, table, stored, method.selection, field="cell_majority.selection"
    )
    cells = beside.column("cell").to_numpy()
    if np.all(cells == -1):
        return cells, [f"{stored.record.strategy} has no cells: every candidate keeps the default"]
    return cells, []


def _check_same_set(
    store: ObjectStore, table: CandidateSet, stored: Stored, selection: str, *, field: str
) -> pa.Table:
    """Return the selection's table of cells, which names the candidates it chose from."""
    beside = read_table(store, stored.record.cells)
    # One made from features alone does not say of which set they are.
    same = stored.record.candidates in ("", table.folder)
    if not same or not np.array_equal(beside.column("candidate").to_numpy(), table.candidates):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the selection {selection!r} is of another candidate set",
            field=field,
            value=selection,
        )
    return beside
