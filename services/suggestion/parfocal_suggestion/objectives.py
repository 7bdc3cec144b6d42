"""What a strategy would score every candidate of a pool by, and how picks change it."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.distances import lower, middle, squared_norms
from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.selection import Strategy

_ROWS = 1 << 14


class Objective(Protocol):
    """Scores of all candidates, given what is labelled, pending and taken so far."""

    scores: Floats
    """(N,) float32, greater is sooner; infinite where nothing limits it, never NaN."""

    def take(self, row: int) -> bool:
        """Count a pick; return whether scores changed."""
        ...


@runtime_checkable
class Scoring(Protocol):
    """A strategy that scores every candidate, and so can be part of a product."""

    def objective(self, pool: Pool, *, seed: int) -> Objective:
        """Return the scores of the pool (N,)."""
        ...


class Fixed:
    """Scores that no pick changes."""

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self.scores = np.asarray(scores, np.float32)

    @classmethod
    def of_ranking(cls, strategy: Strategy, pool: Pool, *, seed: int) -> Self:
        """Return the scores by which a strategy ranks all that can be chosen, -inf elsewhere.

        Args:
            strategy: One that scores each candidate without a look at the others.
            pool: Candidates, N of them.
            seed: The seed.
        """
        ranked = strategy.select(pool, len(pool), seed=seed)
        scores = np.full(len(pool), -np.inf, np.float32)
        scores[pool.rows_of(ranked.candidates)] = ranked.scores
        return cls(scores)

    def take(self, row: int) -> bool:
        """Change nothing."""
        return False


class Spread:
    """Distance to the nearest candidate that is taken; infinite as long as none is.

    Args:
        features: (N, d) float32.
        taken: Rows that are taken from the start.
    """

    def __init__(self, features: Floats, taken: Rows) -> None:
        self._features = features
        self._norms = squared_norms(features)
        self._squared = np.full(len(features), np.inf, np.float32)
        lower(self._squared, features, features[taken], origin=middle(features))
        self.scores = np.sqrt(self._squared)

    def take(self, row: int) -> bool:
        """Lower the distances to what the new one leaves.

        One matrix product finds the few that may come nearer; those are measured as core-set
        measures them, so that both agree to the last bit.
        """
        own = self._features[row]
        # All that rounding can do to the estimate, generously.
        unsure = np.float32(4 * (len(own) + 4) * np.finfo(np.float32).eps)
        ends = self._norms + self._norms[row]
        estimate = ends - 2 * (self._features @ own) - unsure * ends
        nearer = np.flatnonzero(estimate < self._squared)
        for start in range(0, len(nearer), _ROWS):
            rows = nearer[start : start + _ROWS]
            gaps = squared_norms(self._features[rows] - own)
            self._squared[rows] = np.minimum(self._squared[rows], gaps)
        self.scores = np.sqrt(self._squared)
        return True


def by_rank(scores: Floats) -> Floats:
    """Ranks (N,) over N, above 0 up to 1; equals share the mean of theirs."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places] / max(1, len(scores)), np.float32)


def by_scale(scores: Floats, *, least: float = 1e-6) -> Floats:
    """Scores (N,) scaled to `least` up to 1; all 1 where they are equal.

    Infinite ones count as the greatest finite one; without any, all are 1.
    """
    finite = scores[np.isfinite(scores)].astype(np.float64)
    if not len(finite) or finite.max() == finite.min():
        return np.ones(len(scores), np.float32)
    low, high = finite.min(), finite.max()
    share = (np.clip(scores.astype(np.float64), low, high) - low) / (high - low)
    return np.asarray(np.maximum(share, least), np.float32)
