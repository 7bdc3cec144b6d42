"""What a strategy gives back, and the one interface that all strategies have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Floats, Ids, Pool

Checkpoint: TypeAlias = Callable[[], None]
"""Called between pieces of work; raises when the caller no longer wants the answer."""

Parameters: TypeAlias = Mapping[str, Any]
"""The fields of a strategy by name, as they are stored: numbers, texts, and strategies inside."""


def no_checkpoint() -> None:
    """Never stop."""


@dataclass(frozen=True)
class Selection:
    """The picks of a strategy in the order they are shown, and how it divided the pool.

    Attributes:
        candidates: (B,) int64, ordered, each once.
        scores: (B,) float32; what they mean is the strategy's, NaN where it scores nothing.
        cells: (N,) int32, the cell of every candidate of the pool, or -1 without cells.
        clusters: (N,) int32, the first-level cluster, or -1.
        distances: (N,) float32, distance to the centre of the cell, or NaN.
        parts: What the scores are made of, by name: (B,) float32 each, in the order of the picks;
            NaN where a score has no such part.
        chosen_by: (B,) names of the parts of a combinator that chose each; empty elsewhere.
    """

    candidates: Ids
    scores: Floats
    cells: NDArray[np.int32]
    clusters: NDArray[np.int32]
    distances: Floats
    parts: Mapping[str, Floats] = field(default_factory=dict)
    chosen_by: tuple[str, ...] = ()

    @classmethod
    def without_cells(
        cls,
        pool: Pool,
        candidates: Ids,
        scores: Floats,
        parts: Mapping[str, Floats] | None = None,
    ) -> Selection:
        """Return a selection by a strategy that does not divide the pool."""
        nowhere = np.full(len(pool), -1, np.int32)
        return cls(
            candidates=candidates,
            scores=scores,
            cells=nowhere,
            clusters=nowhere,
            distances=np.full(len(pool), np.nan, np.float32),
            parts=parts or {},
        )

    @classmethod
    def nothing(cls, pool: Pool) -> Selection:
        """Return the selection from a pool where nothing is left to choose."""
        return cls.without_cells(pool, np.empty(0, np.int64), np.empty(0, np.float32))

    def only(self, places: NDArray[np.intp]) -> Selection:
        """Return the picks at `places` (K,), in that order."""
        return replace(
            self,
            candidates=self.candidates[places],
            scores=self.scores[places],
            parts={name: part[places] for name, part in self.parts.items()},
            chosen_by=tuple(self.chosen_by[place] for place in places) if self.chosen_by else (),
        )

    @classmethod
    def joined(cls, selections: Sequence[Selection]) -> Selection:
        """Return the picks of selections from one pool, one after the other.

        The pool is divided as the first of them divided it that did.
        """
        divided = (each for each in selections if np.any(each.cells >= 0))
        names = dict.fromkeys(name for each in selections for name in each.parts)
        return replace(
            next(divided, selections[0]),
            candidates=np.concatenate([each.candidates for each in selections]),
            scores=np.concatenate([each.scores for each in selections]),
            parts={
                name: np.concatenate([each._part(name) for each in selections]) for name in names
            },
            chosen_by=tuple(name for each in selections for name in each.chosen_by),
        )

    def _part(self, name: str) -> Floats:
        absent = np.full(len(self.candidates), np.nan, np.float32)
        return self.parts.get(name, absent)


class Strategy(Protocol):
    """Ranks candidates. An instance is a frozen dataclass of its parameters.

    A parameter left at 0 or empty is derived by `resolved` from the pool and the budget; what
    was derived is stored with the selection, so that a replay derives nothing.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: ClassVar[str]
    version: ClassVar[str]
    """Raised whenever the same inputs would give other picks."""
    summary: ClassVar[str]
    reference: ClassVar[str]
    """Where it was published; empty where it is folklore."""
    score: ClassVar[str]
    """What the scores mean; empty without scores."""
    needs_features: ClassVar[bool]
    needs_probabilities: ClassVar[bool]
    needs_predictions: ClassVar[bool]
    """Whether it needs several views of each candidate."""
    needs_measure: ClassVar[bool]

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Return the strategy with every derived parameter filled in."""
        ...

    def space(self, pool: Pool) -> Floats | None:
        """Return the features (N, d) in which likeness is judged, if it judges likeness."""
        ...

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose exactly `min(budget, available)` candidates."""
        ...
