"""Limits at work: which candidates can still be taken, given what is taken already.

A limit only ever closes: what it refuses once it refuses for good. So taking candidates one after
the other and passing over those that are refused breaks no limit, and ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.constraints import IMAGE, ClassQuota, Constraints, GroupLimit, RegionMask
from parfocal_suggestion.pool import Mask, Pool, Rows

_SECONDS_PER_MINUTE = 60
SLACK = 1e-9
"""The room that sums and products of decimal fractions need."""


class Limit(Protocol):
    """One limit and what it has seen of the picks."""

    text: str
    """The limit in words, such as `at most 5 of each source`."""

    def refuses(self, rows: Rows) -> Mask:
        """Which of `rows` of the pool can no longer be taken."""
        ...

    def take(self, row: int) -> None:
        """Count a pick."""
        ...

    def why(self, row: int) -> str:
        """Say why it refuses a row that it refuses."""
        ...


def limits_of(constraints: Constraints, pool: Pool, budget: int) -> list[Limit]:
    """Make the limits that constraints mean for a pool.

    Raises:
        InvalidInput: If the pool lacks a column, positions or probabilities
            (`ERROR_REASON_MISSING_FIELD`).
    """
    limits: list[Limit] = [_Region(each, pool) for each in constraints.regions]
    limits += [_Group(each, pool) for each in constraints.groups]
    if constraints.quotas:
        limits.append(_Quotas(constraints.quotas, predicted_classes(pool), budget))
    if constraints.minimum_distance_nm:
        limits.append(_Distance(constraints.minimum_distance_nm, pool))
    if constraints.minutes:
        limits.append(time_limit(constraints, pool))
    return limits


def predicted_classes(pool: Pool) -> Rows:
    """Likeliest class (N,) of each candidate; of two classes 1 from a probability of 0.5 on.

    Raises:
        InvalidInput: If there are no probabilities (`ERROR_REASON_MISSING_FIELD`).
    """
    if pool.probabilities is None and pool.predictions is None:
        raise _missing("constraints.quotas", "quotas of classes need probabilities")
    chances = pool.class_probabilities()
    if chances.shape[1] == 2:
        return np.asarray(chances[:, 1] >= 0.5, np.intp)
    return np.asarray(np.argmax(chances, axis=1), np.intp)


class _Region:
    def __init__(self, region: RegionMask, pool: Pool) -> None:
        if region.name not in pool.inside:
            raise _missing("constraints.regions", f"the candidates lie in no mask {region.name}")
        self.text = f"the mask {region.name}"
        self._inside = pool.inside[region.name]

    def refuses(self, rows: Rows) -> Mask:
        return ~self._inside[rows]

    def take(self, row: int) -> None:
        """Leave the region as it is."""

    def why(self, row: int) -> str:
        return f"its centre lies outside {self.text}"


class _Group:
    def __init__(self, limit: GroupLimit, pool: Pool) -> None:
        columns = [_column(pool, name) for name in limit.columns]
        codes = np.zeros(len(pool), np.intp)
        for column in columns:
            values, inverse = np.unique(column, return_inverse=True)
            codes = np.unique(codes * len(values) + inverse, return_inverse=True)[1]
        self.text = f"at most {limit.maximum} of each {' and '.join(limit.columns)}"
        self._limit, self._columns, self._codes = limit, columns, codes
        self._counts = np.zeros(codes.max(initial=-1) + 1, np.intp)

    def refuses(self, rows: Rows) -> Mask:
        full: Mask = self._counts[self._codes[rows]] >= self._limit.maximum
        return full

    def take(self, row: int) -> None:
        self._counts[self._codes[row]] += 1

    def why(self, row: int) -> str:
        named = zip(self._limit.columns, self._columns, strict=True)
        group = ", ".join(f"{name} {column[row]}" for name, column in named)
        return f"{self._limit.maximum} of {group} are taken already"


class _Quotas:
    def __init__(self, quotas: Sequence[ClassQuota], classes: Rows, budget: int) -> None:
        most = {
            each.predicted_class: each.maximum or math.ceil(each.share * budget - SLACK)
            for each in quotas
        }
        named = ", ".join(f"{number} of class {one}" for one, number in most.items())
        self.text = f"at most {named}"
        self._classes = classes
        self._most = np.full(max(classes.max(initial=0), *most) + 1, np.iinfo(np.intp).max)
        self._most[list(most)] = list(most.values())
        self._counts = np.zeros(len(self._most), np.intp)

    def refuses(self, rows: Rows) -> Mask:
        classes = self._classes[rows]
        full: Mask = self._counts[classes] >= self._most[classes]
        return full

    def take(self, row: int) -> None:
        self._counts[self._classes[row]] += 1

    def why(self, row: int) -> str:
        own = self._classes[row]
        return f"{self._most[own]} of class {own} are taken already"


class _Distance:
    def __init__(self, nanometres: float, pool: Pool) -> None:
        if pool.positions is None:
            raise _missing("constraints.minimum_distance_nm", "a distance needs positions")
        self.text = f"at least {nanometres:g} nm between two"
        self._least, self._positions = nanometres, pool.positions
        self._images = _column(pool, IMAGE)
        self._trees: dict[object, tuple[Rows, KDTree]] = {}
        self._near = np.zeros(len(pool), np.bool_)

    def refuses(self, rows: Rows) -> Mask:
        return self._near[rows]

    def take(self, row: int) -> None:
        rows, tree = self._of_image(row)
        own = self._positions[row]
        # The tree rounds as it likes; the measure that counts is this one.
        around = rows[tree.query_ball_point(own, self._least * (1 + SLACK))]
        gaps = np.sqrt(np.square(self._positions[around] - own).sum(axis=1))
        self._near[around[gaps < self._least]] = True
        self._near[row] = True

    def why(self, row: int) -> str:
        return f"another pick is less than {self._least:g} nm away"

    def _of_image(self, row: int) -> tuple[Rows, KDTree]:
        image = self._images[row].item()
        if image not in self._trees:
            rows = np.flatnonzero(self._images == image)
            self._trees[image] = rows, KDTree(self._positions[rows])
        return self._trees[image]


class TimeLimit:
    """Seconds that people have, and what the picks take of them."""

    def __init__(self, minutes: float, seconds: NDArray[np.float64]) -> None:
        self.text = f"{minutes:g} minutes"
        self._total = minutes * _SECONDS_PER_MINUTE * (1 + SLACK)
        self._seconds, self._spent = seconds, 0.0

    def refuses(self, rows: Rows) -> Mask:
        """Which take longer than what is left."""
        return self._seconds[rows] > self._total - self._spent

    def take(self, row: int) -> None:
        """Spend its seconds."""
        self._spent += float(self._seconds[row])

    def why(self, row: int) -> str:
        """Say how long it takes."""
        return f"its {self._seconds[row]:g} seconds no longer fit into {self.text}"

    def room(self, rows: Rows) -> int:
        """How many of `rows` the rest is for, by their mean; at least 1."""
        if not len(rows):
            return 1
        mean = float(np.mean(self._seconds[rows]))
        return max(1, math.floor((self._total - self._spent) / mean))


def time_limit(constraints: Constraints, pool: Pool) -> TimeLimit:
    """Make the limit in time, by the measured column or the one number for all.

    Raises:
        InvalidInput: If there is neither (`ERROR_REASON_MISSING_FIELD`).
    """
    seconds = pool.seconds
    if seconds is None and constraints.seconds_per_item:
        seconds = np.full(len(pool), constraints.seconds_per_item)
    if seconds is None:
        raise _missing("constraints.time", "a budget in minutes needs the seconds per item")
    return TimeLimit(constraints.minutes, seconds)


def _column(pool: Pool, name: str) -> NDArray[np.int64] | NDArray[np.str_]:
    if name not in pool.groups:
        raise _missing("constraints.groups", f"the candidates have no column {name!r}")
    return pool.groups[name]


def _missing(field: str, message: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_MISSING_FIELD", message, field=field)
