"""What a strategy chooses from: candidates, what is known of them, what is already decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parfocal_runtime.errors import InvalidInput

Floats: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]

LARGEST_FEATURE = 1e15
"""Features beyond this magnitude are refused: sums of their squares leave float32."""

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
        labelled: (L,) int64, ascending; a subset of `candidates`.
        verdicts: (L,) bool, the answers in the order of `labelled`.
        pending: (P,) int64, ascending; will be labelled whatever a strategy picks.
        excluded: (E,) int64, ascending; already taken out of `candidates`.
    """

    candidates: Ids
    streams: Mapping[str, Floats] = field(default_factory=dict)
    probabilities: Floats | None = None
    labelled: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    verdicts: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    pending: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    excluded: Ids = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(
        cls,
        candidates: ArrayLike,
        *,
        streams: Mapping[str, ArrayLike] | None = None,
        probabilities: ArrayLike | None = None,
        labelled: ArrayLike = (),
        verdicts: ArrayLike = (),
        excluded: ArrayLike = (),
    ) -> Pool:
        """Sort by id, drop the excluded and check everything.

        Args:
            candidates: (N,) ids in any order, each once.
            streams: (N, d) features by name, rows in the order of `candidates`.
            probabilities: (N,) or (N, C) in [0, 1], rows in the order of `candidates`.
            labelled: (L,) ids that have an answer.
            verdicts: (L,) answers, in the order of `labelled`.
            excluded: (E,) ids that are never chosen and influence nothing.

        Raises:
            InvalidInput: If ids repeat or are unknown, row counts disagree, or a value that
                would be used is not finite; the ids are in the message.
        """
        ids = _unique_ids(candidates, field="candidates")
        keep, out = _rows_kept(ids, excluded)
        chosen, answers = _labels(ids[keep], labelled, verdicts)
        return cls(
            candidates=ids[keep],
            streams={
                name: _features(name, values, ids, keep) for name, values in (streams or {}).items()
            },
            probabilities=_probabilities(probabilities, ids, keep),
            labelled=chosen,
            verdicts=answers,
            excluded=out,
        )

    def __len__(self) -> int:
        return len(self.candidates)

    def with_pending(self, pending: Ids) -> Pool:
        """Return the same pool where `pending` can no longer be chosen but will be labelled."""
        return replace(self, pending=np.union1d(self.pending, pending))

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


def named(ids: Sequence[int] | Ids) -> str:
    """Ids for a message: the first ten and how many more."""
    listed = ", ".join(str(int(i)) for i in ids[:_IDS_NAMED])
    more = len(ids) - _IDS_NAMED
    return f"{listed} and {more} more" if more > 0 else listed


def _unique_ids(values: ArrayLike, *, field: str) -> Ids:
    ids = np.asarray(values, np.int64).reshape(-1)
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
    unknown = np.setdiff1d(ids, known)
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


def _labels(ids: Ids, labelled: ArrayLike, verdicts: ArrayLike) -> tuple[Ids, Mask]:
    chosen = _known_ids(labelled, ids, field="labelled")
    answers = np.asarray(verdicts, np.bool_).reshape(-1)
    _check_rows("verdicts", len(answers), len(chosen))
    order = np.argsort(chosen)
    return chosen[order], answers[order]


def _features(name: str, values: ArrayLike, ids: Ids, keep: Rows | slice) -> Floats:
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
    _check_usable(f"features[{name}]", kept, ids[keep])
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
    inside = (kept >= 0) & (kept <= 1)
    wrong = ~(inside if inside.ndim == 1 else np.all(inside, axis=1))
    if np.any(wrong):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"probabilities must lie in [0, 1]; they do not for {named(ids[keep][wrong])}",
            field="probabilities",
            value=named(ids[keep][wrong]),
        )
    return kept
