"""How alike candidates are to a Gaussian process: a sum of parts, each with a strength.

A part is one thing that is known of a candidate. Its strength is the variance that it may bring to
the latent value; a part of strength 0 is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Ids, Rows

Matrix: TypeAlias = NDArray[np.float64]

CONSTANT = 4.0
"""Variance of the constant: most shares of True between 2 % and 98 % are as likely."""
_ROWS_OF_THE_SCALE = 1000


class Part(Protocol):
    """One thing that is known of every candidate."""

    def between(self, first: Rows | Ids, second: Rows | Ids) -> Matrix:
        """(a, b) covariance of rows `first` with rows `second` at strength 1."""
        ...

    def own(self, rows: Rows | Ids) -> Matrix:
        """(a,) variance of rows at strength 1."""
        ...


@dataclass(frozen=True)
class Linear:
    """A weighted sum of columns; each weight has the strength as its variance.

    Attributes:
        columns: (N, d) standardised.
    """

    columns: Matrix

    def between(self, first: Rows | Ids, second: Rows | Ids) -> Matrix:
        """Products of the rows."""
        return np.asarray(self.columns[first] @ self.columns[second].T)

    def own(self, rows: Rows | Ids) -> Matrix:
        """Squared lengths of the rows."""
        return np.asarray(np.square(self.columns[rows]).sum(axis=1))


@dataclass(frozen=True)
class Smooth:
    """A smooth function of a place: exp(-distance^2 / (2 scale)).

    Attributes:
        places: (N, d).
        scale: Squared length over which the function changes.
    """

    places: Matrix
    scale: float

    @classmethod
    def over(cls, places: Matrix) -> Smooth:
        """Take the median squared distance as the scale, from evenly spread rows."""
        if not len(places):
            return cls(places, 1.0)
        rows = np.unique(np.linspace(0, len(places) - 1, _ROWS_OF_THE_SCALE).round().astype(int))
        squared = _squared_distances(places[rows], places[rows])[np.triu_indices(len(rows), 1)]
        apart = squared[squared > 0]
        return cls(places, float(np.median(apart)) if len(apart) else 1.0)

    def between(self, first: Rows | Ids, second: Rows | Ids) -> Matrix:
        """Fall from 1 with the distance."""
        squared = _squared_distances(self.places[first], self.places[second])
        return np.asarray(np.exp(-squared / (2 * self.scale)))

    def own(self, rows: Rows | Ids) -> Matrix:
        """One everywhere."""
        return np.ones(len(rows))


@dataclass(frozen=True)
class Shared:
    """A value that the members of a group share.

    Attributes:
        groups: (N,) group of each candidate.
    """

    groups: Ids

    def between(self, first: Rows | Ids, second: Rows | Ids) -> Matrix:
        """One inside a group, zero between groups."""
        same = self.groups[first][:, None] == self.groups[second]
        return np.asarray(same, np.float64)

    def own(self, rows: Rows | Ids) -> Matrix:
        """One everywhere."""
        return np.ones(len(rows))


Parts: TypeAlias = Mapping[str, Part]
Strengths: TypeAlias = Mapping[str, float]


def between(parts: Parts, strengths: Strengths, first: Rows | Ids, second: Rows | Ids) -> Matrix:
    """(a, b) covariance of all parts and the constant."""
    total: Matrix = np.full((len(first), len(second)), CONSTANT)
    for name, strength in strengths.items():
        if strength:
            total += strength * parts[name].between(first, second)
    return total


def own(parts: Parts, strengths: Strengths, rows: Rows | Ids) -> Matrix:
    """(a,) variance of all parts and the constant."""
    total = np.full(len(rows), CONSTANT)
    for name, strength in strengths.items():
        if strength:
            total += strength * parts[name].own(rows)
    return total


def _squared_distances(first: Matrix, second: Matrix) -> Matrix:
    lengths = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * first @ second.T, 0))
