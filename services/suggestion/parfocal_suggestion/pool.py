"""What a strategy chooses from: candidates, what is known of them, what is already decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.memory import Memory

Floats: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]
Column: TypeAlias = NDArray[np.int64] | NDArray[np.str_]

LARGEST_FEATURE = 1e15
"""Features beyond this magnitude are refused: sums of their squares leave float32."""

AXES = 3
"""Columns of positions: z, y, x."""

_IDS_NAMED = 10


@dataclass(frozen=True)
class Pool:
    """Candidates in ascending id order, without those excluded.

    Build it with `Pool.of`, which sorts and validates; the order makes every strategy
    independent of the order in which candidates arrive.

    Attributes:
        candidates: (N,) int64, ascending, unique.
        streams: Feature arrays by name, each (N, d) float32 and finite.
        probabilities: (N,) float32 for two classes (that of True) or (N, C) float32.
        predictions: (N, m, C) float32, class probabilities of m views of each candidate: its
            patches, the members of an ensemble, passes with dropout. Of two classes the second
            is True.
        measures: Numbers by name, each (N,) float32 and finite.
        labelled: (L,) int64, ascending; a subset of `candidates`.
        verdicts: (L,) bool, the answers in the order of `labelled`.
        pending: (P,) int64, ascending; will be labelled whatever a strategy picks.
        excluded: (E,) int64, ascending; already taken out of `candidates`.
        blocked: (K,) int64, ascending; without a label, not to be chosen, and nobody will look
            at them: a limit stands against it.
        groups: (N,) int64 or text by name of a column: what candidates have in common.
        positions: (N, 3) float64, nanometres, zyx; comparable within one image.
        seconds: (N,) float64, how long a person needs for each.
        inside: (N,) bool by name of a mask: whether the candidate lies in it.
        memory: What is known of the streams from earlier selections; changes no selection.
    """

    candidates: Ids
    streams: Mapping[str, Floats] = field(default_factory=dict)
    probabilities: Floats | None = None
    predictions: Floats | None = None
    measures: Mapping[str, Floats] = field(default_factory=dict)
    labelled: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    verdicts: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    pending: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    excluded: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    blocked: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    groups: Mapping[str, Column] = field(default_factory=dict)
    positions: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None
    inside: Mapping[str, Mask] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        candidates: ArrayLike,
        *,
        streams: Mapping[str, ArrayLike] | None = None,
        probabilities: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        measures: Mapping[str, ArrayLike] | None = None,
        labelled: ArrayLike = (),
        verdicts: ArrayLike = (),
        excluded: ArrayLike = (),
        groups: Mapping[str, ArrayLike] | None = None,
        positions: ArrayLike | None = None,
        seconds: ArrayLike | None = None,
        inside: Mapping[str, ArrayLike] | None = None,
        memory: Memory | None = None,
    ) -> Pool:
        """Sort by id, drop the excluded and check everything.

        Args:
            candidates: (N,) ids in any order, each once.
            streams: (N, d) features by name, rows in the order of `candidates`.
            probabilities: (N,) or (N, C) in [0, 1], rows in the order of `candidates`.
            predictions: (N, m, C) in [0, 1], m > 0 and C > 1, rows in the order of `candidates`.
            measures: (N,) numbers by name, rows in the order of `candidates`.
            labelled: (L,) ids that have an answer.
            verdicts: (L,) answers, in the order of `labelled`.
            excluded: (E,) ids that are never chosen and influence nothing.
            groups: (N,) whole numbers or texts by name, rows in the order of `candidates`.
            positions: (N, 3) nanometres, zyx, rows likewise.
            seconds: (N,) positive, rows likewise.
            inside: (N,) by name of a mask, rows likewise.
            memory: What is known of the streams from earlier selections.

        Raises:
            InvalidInput: If ids repeat or are unknown, row counts disagree, or a value that
                would be used is not finite; the ids are in the message.
        """
        memory = memory or Memory()
        ids = _unique_ids(candidates, field="candidates")
        keep, out = _rows_kept(ids, excluded)
        chosen, answers = labels_in_order(ids[keep], labelled, verdicts, field="labelled")
        return cls(
            candidates=ids[keep],
            streams={
                name: _features(name, values, ids, keep, memory)
                for name, values in (streams or {}).items()
            },
            probabilities=_probabilities(probabilities, ids, keep),
            predictions=_predictions(predictions, ids, keep),
            measures={
                name: _measure(name, values, ids, keep) for name, values in (measures or {}).items()
            },
            labelled=chosen,
            verdicts=answers,
            excluded=out,
            groups={
                name: _column(name, values, ids, keep) for name, values in (groups or {}).items()
            },
            positions=_positions(positions, ids, keep),
            seconds=_seconds(seconds, ids, keep),
            inside={
                name: np.asarray(values, np.bool_)[keep] for name, values in (inside or {}).items()
            },
            memory=memory,
        )

    def __len__(self) -> int:
        return len(self.candidates)

    def with_pending(self, pending: Ids) -> Pool:
        """Return the same pool where `pending` can no longer be chosen but will be labelled."""
        return replace(self, pending=np.union1d(self.pending, pending))

    def with_blocked(self, blocked: Ids) -> Pool:
        """Return the same pool where `blocked` can no longer be chosen and stay unlabelled."""
        return replace(self, blocked=np.union1d(self.blocked, blocked))

    def only(self, rows: Rows) -> Pool:
        """Return the pool of the candidates at `rows`, ascending, as if there were no others."""
        ids = self.candidates[rows]
        lists = {"labelled", "verdicts", "pending", "excluded", "blocked", "memory"}
        columns = {
            each.name: _cut(getattr(self, each.name), rows)
            for each in fields(self)
            if each.name not in lists
        }
        known = np.isin(self.labelled, ids)
        return replace(
            self,
            **columns,
            labelled=self.labelled[known],
            verdicts=self.verdicts[known],
            pending=np.intersect1d(self.pending, ids),
            blocked=np.intersect1d(self.blocked, ids),
        )

    def rows_of(self, ids: Ids) -> Rows:
        """Rows of `ids`, each of which must be a candidate."""
        return np.searchsorted(self.candidates, ids)

    @property
    def labelled_rows(self) -> Rows:
        """Rows of the labelled candidates."""
        return self.rows_of(self.labelled)

    @property
    def unlabelled(self) -> Mask:
        """(N,) True where there is no answer yet, pending candidates included."""
        mask = np.ones(len(self), np.bool_)
        mask[self.labelled_rows] = False
        return mask

    @property
    def available(self) -> Mask:
        """(N,) True where a strategy may choose."""
        mask = self.unlabelled
        mask[self.rows_of(self.pending)] = False
        mask[self.rows_of(self.blocked)] = False
        return mask

    @property
    def taken(self) -> Mask:
        """(N,) True where there is an answer or will be one, whatever a strategy picks."""
        mask = ~self.unlabelled
        mask[self.rows_of(self.pending)] = True
        return mask

    def stream(self, name: str) -> Floats:
        """Features (N, d) of one stream, of the first one where no name is given.

        Raises:
            InvalidInput: If there is no stream of that name (`ERROR_REASON_INVALID_FIELD`).
        """
        name = name or next(iter(self.streams), "")
        if name not in self.streams:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"no feature stream {name!r}; there are {sorted(self.streams)}",
                field="features",
                value=name,
            )
        return self.streams[name]

    def views(self, *, at_least: int = 1) -> Floats:
        """Class probabilities (N, m, C) of the views of each candidate.

        Raises:
            InvalidInput: If there are none (`ERROR_REASON_MISSING_FIELD`), or fewer views than
                `at_least` (`ERROR_REASON_SHAPE_MISMATCH`).
        """
        if self.predictions is None:
            raise _missing("predictions", "predictions of several views of each candidate")
        if self.predictions.shape[1] < at_least:
            raise InvalidInput(
                "ERROR_REASON_SHAPE_MISMATCH",
                f"predictions must have {at_least} views or more of each candidate",
                field="predictions",
                shape=self.predictions.shape,
                expected=f"(N, {at_least} or more, C)",
            )
        return self.predictions

    def class_probabilities(self) -> NDArray[np.float64]:
        """Probability (N, C) of each class: the mean of the views where there are views.

        Of two classes the second is True.

        Raises:
            InvalidInput: If nothing was predicted (`ERROR_REASON_MISSING_FIELD`).
        """
        if self.predictions is not None:
            return np.asarray(self.predictions.mean(axis=1, dtype=np.float64))
        if self.probabilities is None:
            raise _missing("probabilities", "the base model's probabilities")
        chances = self.probabilities.astype(np.float64)
        return np.stack([1 - chances, chances], axis=1) if chances.ndim == 1 else chances

    def measure(self, name: str) -> Floats:
        """Numbers (N,) of one measure.

        Raises:
            InvalidInput: If there is no measure of that name (`ERROR_REASON_INVALID_FIELD`).
        """
        if name not in self.measures:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"no measure {name!r}; there are {sorted(self.measures)}",
                field="measures",
                value=name,
            )
        return self.measures[name]


def named(ids: Sequence[int] | Ids) -> str:
    """Ids for a message: the first ten and how many more."""
    listed = ", ".join(str(int(i)) for i in ids[:_IDS_NAMED])
    more = len(ids) - _IDS_NAMED
    return f"{listed} and {more} more" if more > 0 else listed


def labels_in_order(
    ids: Ids, labelled: ArrayLike, verdicts: ArrayLike, *, field: str
) -> tuple[Ids, Mask]:
    """Return labels in the order of their ids: (L,) ids and (L,) answers.

    Args:
        ids: (N,) the candidates there are.
        labelled: (L,) ids that have an answer.
        verdicts: (L,) answers, in the order of `labelled`.
        field: Field of the request that they came in, for the error.

    Raises:
        InvalidInput: If ids repeat or are unknown.
    """
    chosen = _known_ids(labelled, ids, field=field)
    answers = np.asarray(verdicts, np.bool_).reshape(-1)
    _check_rows("verdicts", len(answers), len(chosen))
    order = np.argsort(chosen)
    return chosen[order], answers[order]


def _missing(field: str, what: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_MISSING_FIELD", f"this needs {what}", field=field)


def _cut(column: Any, rows: Rows) -> Any:
    """Rows of a column of the pool, of each of several by name, or of none."""
    if isinstance(column, Mapping):
        return {name: values[rows] for name, values in column.items()}
    return None if column is None else column[rows]


def _unique_ids(values: ArrayLike, *, field: str) -> Ids:
    ids = np.asarray(values, np.int64).reshape(-1)
    # As most come; counting a million different numbers takes longer than all else here.
    if np.all(ids[1:] > ids[:-1]):
        return ids
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        repeated = distinct[counts > 1]
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} names these ids more than once: {named(repeated)}",
            field=field,
            value=named(repeated),
        )
    return ids


def _known_ids(values: ArrayLike, known: Ids, *, field: str) -> Ids:
    ids = _unique_ids(values, field=field)
    if not len(ids):
        return ids
    unknown = np.sort(ids[np.isin(ids, known, invert=True)])
    if len(unknown):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} names ids that are not in the pool: {named(unknown)}",
            field=field,
            value=named(unknown),
        )
    return ids


def _rows_kept(ids: Ids, excluded: ArrayLike) -> tuple[Rows | slice, Ids]:
    """Rows in id order without the excluded; a slice where nothing moves, so nothing is copied."""
    out = np.sort(_known_ids(excluded, ids, field="excluded"))
    if not len(out) and np.all(ids[1:] > ids[:-1]):
        return slice(None), out
    order = np.argsort(ids)
    return order[~np.isin(ids[order], out)], out


def _features(name: str, values: ArrayLike, ids: Ids, keep: Rows | slice, memory: Memory) -> Floats:
    features = np.asarray(values)
    if features.ndim != 2 or features.shape[1] == 0:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"features {name!r} must be (N, d) with d > 0, got shape {features.shape}",
            field=f"features[{name}]",
            shape=features.shape,
            expected="(N, d)",
        )
    _check_rows(f"features[{name}]", len(features), len(ids))
    kept = features[keep]
    check = partial(_check_usable, f"features[{name}]", kept, ids[keep])
    memory.check_once(kept, check)
    return np.ascontiguousarray(kept, np.float32)


def _check_rows(field: str, got: int, expected: int) -> None:
    if got != expected:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{field} has {got} rows where {expected} are needed",
            field=field,
            shape=got,
            expected=expected,
        )


def _check_usable(field: str, values: NDArray[np.generic], ids: Ids) -> None:
    # NaN fails both comparisons; min and max need no temporary of the size of the features.
    columns = tuple(range(1, values.ndim))
    low, high = values.min(axis=columns), values.max(axis=columns)
    usable = (low >= -LARGEST_FEATURE) & (high <= LARGEST_FEATURE)
    if not np.all(usable):
        raise InvalidInput(
            "ERROR_REASON_FEATURES_NOT_FINITE",
            f"{field} is NaN, infinite or beyond {LARGEST_FEATURE:g} for the candidates "
            f"{named(ids[~usable])}; repair or exclude them",
            field=field,
            candidates=named(ids[~usable]),
            count=np.count_nonzero(~usable),
        )


def _probabilities(values: ArrayLike | None, ids: Ids, keep: Rows | slice) -> Floats | None:
    if values is None:
        return None
    probabilities = np.asarray(values, np.float32)
    if probabilities.ndim not in (1, 2) or 0 in probabilities.shape[1:]:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"probabilities must be (N,) or (N, C), got shape {probabilities.shape}",
            field="probabilities",
            shape=probabilities.shape,
            expected="(N,) or (N, C)",
        )
    _check_rows("probabilities", len(probabilities), len(ids))
    kept = probabilities[keep]
    _check_chances("probabilities", kept, ids[keep])
    return kept


def _predictions(values: ArrayLike | None, ids: Ids, keep: Rows | slice) -> Floats | None:
    if values is None:
        return None
    predictions = np.asarray(values, np.float32)
    if predictions.ndim != 3 or predictions.shape[1] < 1 or predictions.shape[2] < 2:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"predictions must be (N, m, C) with C > 1, got shape {predictions.shape}",
            field="predictions",
            shape=predictions.shape,
            expected="(N, m, C)",
        )
    _check_rows("predictions", len(predictions), len(ids))
    kept = predictions[keep]
    _check_chances("predictions", kept, ids[keep])
    return kept


def _measure(name: str, values: ArrayLike, ids: Ids, keep: Rows | slice) -> Floats:
    measure = np.asarray(values)
    if measure.ndim != 1:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"measures {name!r} must be (N,), got shape {measure.shape}",
            field=f"measures[{name}]",
            shape=measure.shape,
            expected="(N,)",
        )
    _check_rows(f"measures[{name}]", len(measure), len(ids))
    kept = measure[keep]
    _check_usable(f"measures[{name}]", kept, ids[keep])
    return np.ascontiguousarray(kept, np.float32)


def _check_chances(field: str, values: Floats, ids: Ids) -> None:
    # NaN fails both comparisons.
    columns = tuple(range(1, values.ndim))
    inside = (values.min(axis=columns) >= 0) & (values.max(axis=columns) <= 1)
    if not np.all(inside):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} must lie in [0, 1]; they do not for {named(ids[~inside])}",
            field=field,
            value=named(ids[~inside]),
        )


def _column(name: str, values: ArrayLike, ids: Ids, keep: Rows | slice) -> Column:
    column = np.asarray(values)
    _check_rows(f"groups[{name}]", len(column), len(ids))
    if column.dtype.kind not in "iuUb":
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the column {name!r} must hold whole numbers or words, not {column.dtype}",
            field=f"groups[{name}]",
            value=column.dtype,
        )
    return np.ascontiguousarray(column[keep], None if column.dtype.kind == "U" else np.int64)


def _positions(
    values: ArrayLike | None, ids: Ids, keep: Rows | slice
) -> NDArray[np.float64] | None:
    if values is None:
        return None
    positions = np.asarray(values, np.float64)
    if positions.shape != (len(ids), AXES):
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"positions must be ({len(ids)}, {AXES}), got shape {positions.shape}",
            field="positions",
            shape=positions.shape,
            expected=(len(ids), AXES),
        )
    kept = np.ascontiguousarray(positions[keep])
    _check_usable("positions", kept, ids[keep])
    return kept


def _seconds(values: ArrayLike | None, ids: Ids, keep: Rows | slice) -> NDArray[np.float64] | None:
    if values is None:
        return None
    seconds = np.asarray(values, np.float64).reshape(-1)
    _check_rows("seconds", len(seconds), len(ids))
    kept = seconds[keep]
    wrong = ~(np.isfinite(kept) & (kept > 0))
    if np.any(wrong):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"seconds must be above 0; they are not for the candidates {named(ids[keep][wrong])}",
            field="seconds",
            value=named(ids[keep][wrong]),
        )
    return kept
