"""Intervals of figures, by drawing the queries anew (the bootstrap).

Reference: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7
(1979) 1-26. Figures here are functions of totals over queries, so that all resamples are one
product of matrices. Where there are more than 4096 queries, they are first put into 4096 equal
groups at random, and groups are drawn instead: the interval of a total stays the same up to a few
percent of its width, and its cost does not grow any more with the number of queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
MOST_UNITS = 4096
_COLUMNS_AT_ONCE = 256
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a figure; both ends NaN where it is undefined."""

    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Resampling:
    """Queries as they are, and as they are drawn anew.

    Attributes:
        units: What each query is drawn with; shape (queries,), int64.
        weights: How often each unit counts; shape (1 + `RESAMPLES`, units), float64. The first
            row is the queries as they are: all ones.
    """

    units: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, queries: int, *, seed: int = 0) -> Resampling:
        """Return resamples of so many queries; the same ones for the same seed."""
        random = np.random.default_rng(seed)
        count = min(queries, MOST_UNITS)
        units = random.permutation(queries) % max(count, 1)
        drawn = random.integers(max(count, 1), size=(RESAMPLES, count))
        drawn += np.arange(RESAMPLES)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=RESAMPLES * count)
        weights = np.ones((1 + RESAMPLES, count))
        # What is drawn from one query alone is always the same, and says nothing of the spread.
        weights[1:] = times.reshape(RESAMPLES, count) if count > 1 else math.nan
        return cls(units, weights)

    def totals(
        self,
        queries: NDArray[np.int64],
        columns: NDArray[np.int64],
        values: NDArray[np.float64],
        *,
        count: int,
    ) -> NDArray[np.float64]:
        """Return the totals of `count` columns in each resample.

        Args:
            queries: The query of each value, shape (values,).
            columns: The column of each value, from 0, shape (values,).
            values: What is added up, shape (values,).
            count: How many columns there are.

        Returns:
            Totals of shape (1 + `RESAMPLES`, count); the first row is of the queries as they are.
        """
        order = np.argsort(columns, kind="stable")
        units, columns, values = self.units[queries[order]], columns[order], values[order]
        blocks = [np.empty((len(self.weights), 0))]
        for first in range(0, count, _COLUMNS_AT_ONCE):
            width = min(_COLUMNS_AT_ONCE, count - first)
            part = slice(*np.searchsorted(columns, (first, first + width)))
            cells = units[part] * width + columns[part] - first
            size = self.weights.shape[1] * width
            sums = np.bincount(cells, weights=values[part], minlength=size)
            blocks.append(self.weights @ sums.reshape(-1, width))
        return np.concatenate(blocks, axis=1)


def interval(figures: NDArray[np.float64]) -> Interval:
    """Return the 95 % interval of a figure from its values in the resamples.

    Resamples in which the figure is NaN are left out; where it always is, so is the interval.
    """
    defined = figures[np.isfinite(figures)]
    if not len(defined):
        return UNDEFINED
    low, high = np.quantile(defined, _LEVELS)
    return Interval(float(low), float(high))
