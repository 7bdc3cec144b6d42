"""What the candidate table tells of each candidate beyond the pictures: size, shape, neighbours.

A profile of a body goes on in the next section; a false proposal seldom does, and what the base
model says there is a second opinion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from parfocal_suggestion.pool import Ids, Rows

Column = NDArray[np.generic]
Numbers = NDArray[np.float64]

REQUIRED = ("area", "mean_probability", "max_probability")
SHAPE = ("anisotropy", "y0", "x0", "y1", "x1")
NEIGHBOURS = ("source", "z0", "z1", "y0", "x0", "y1", "x1")
COLUMNS = tuple(dict.fromkeys((*REQUIRED, *SHAPE, *NEIGHBOURS)))
"""Columns of a candidate table that are used here."""

_CLOSEST_PROBABILITY = 1 / 512
"""Half a step of an 8-bit probability: 0 and 1 are as far away as they can be told."""
_NEAREST = 4
LEANING = 0.5
"""Weight of what speaks for a candidate before any label."""
_MEAN = 1
_CONTINUATION = (-3, -2)
CONTINUES = 0.25
"""Share of the union of two boxes in which they must agree to be of one body."""


@dataclass(frozen=True)
class Geometry:
    """What is known of N candidates without a picture.

    Attributes:
        columns: (N, d) standardised.
        leaning: (N,) logit of being right as far as it can be told without labels: half of the
            standardised logit of the mean probability, and of what the neighbours add to it.
    """

    columns: Numbers
    leaning: Numbers


def geometry(table: Mapping[str, Column]) -> Geometry:
    """Describe each candidate.

    Always the logarithm of the area and the logits of the mean and the greatest probability; with
    the columns of `SHAPE` also the logarithm of the anisotropy and the share of the box that is
    filled; with those of `NEIGHBOURS` also, summed over the sections before and after, how much the
    box overlaps the best fitting box there, and that times its logit and its log area.

    Args:
        table: Columns (N,) of the candidate table by name; probabilities 0 to 1, the others in
            pixels.
    """
    area = np.log(np.maximum(_numbers(table, "area"), 1))
    mean, greatest = (_logit(_numbers(table, name)) for name in REQUIRED[1:])
    columns = [area, mean, greatest]
    if set(SHAPE) <= set(table):
        height, width = _side(table, "y"), _side(table, "x")
        columns.append(np.log(np.maximum(_numbers(table, "anisotropy"), 1)))
        columns.append(np.exp(area) / np.maximum(height * width, 1))
    if set(NEIGHBOURS) <= set(table):
        columns.extend(_continuation(table, np.stack([mean, area], axis=1)).T)
    found = standardised(np.stack(columns, axis=1))
    telling = [_MEAN, *(_CONTINUATION if set(NEIGHBOURS) <= set(table) else ())]
    return Geometry(found, LEANING * found[:, telling].sum(axis=1))


def bodies(table: Mapping[str, Column]) -> Ids:
    """Number the bodies (N,) that candidates of successive sections form.

    Two belong together where one ends in the section before the other begins and their boxes share
    at least `CONTINUES` of their union.

    Args:
        table: Columns of `NEIGHBOURS`, (N,) each.
    """
    count = len(table["z0"])
    if not count:
        return np.empty(0, np.int64)
    overlap, neighbour = _before(table)
    continues = np.flatnonzero(overlap >= CONTINUES)
    ends = (continues, neighbour[continues])
    links = csr_array((np.ones(len(continues)), ends), (count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)


def standardised(columns: Numbers) -> Numbers:
    """Return columns (N, d) of mean 0 and variance 1; constant ones become 0."""
    if not len(columns):
        return columns
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _continuation(table: Mapping[str, Column], told: Numbers) -> Numbers:
    """(N, 3): the overlap, and the overlap times what is told of the neighbour, centred."""
    if not len(told):
        return np.zeros((0, 1 + told.shape[1]))
    centred = told - told.mean(axis=0)
    found = np.zeros((len(told), 1 + told.shape[1]))
    for overlap, neighbour in (_before(table), _after(table)):
        found[:, 0] += overlap
        found[:, 1:] += overlap[:, None] * centred[neighbour]
    return found


def _before(table: Mapping[str, Column]) -> tuple[Numbers, Rows]:
    return _best_overlap(table, _numbers(table, "z0"), _numbers(table, "z1"))


def _after(table: Mapping[str, Column]) -> tuple[Numbers, Rows]:
    return _best_overlap(table, _numbers(table, "z1"), _numbers(table, "z0"))


def _best_overlap(
    table: Mapping[str, Column], own: Numbers, other: Numbers
) -> tuple[Numbers, Rows]:
    """Intersection over union of boxes with the best of the nearest where `other` equals `own`."""
    corners = np.stack([_numbers(table, name) for name in ("y0", "x0", "y1", "x1")], axis=1)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    # Far apart enough that only candidates of one source and section are near each other.
    apart = 4 * (np.ptp(centres, axis=0).max(initial=0) + 1)
    sections = np.unique(np.concatenate([own, other]), return_inverse=True)[1].reshape(2, -1)
    images = np.unique(table["source"], return_inverse=True)[1]
    steps = images * (sections.max(initial=0) + 1) + sections
    tree = cKDTree(np.column_stack([centres, apart * steps[1]]))
    nearest = min(_NEAREST, len(centres))
    distance, at = tree.query(
        np.column_stack([centres, apart * steps[0]]), nearest, distance_upper_bound=apart / 2
    )
    distance, at = (np.reshape(found, (-1, nearest)) for found in (distance, at))
    there = np.isfinite(distance)
    at = np.where(there, at, 0)
    overlap = np.where(there, _intersection_over_union(corners[:, None], corners[at]), 0)
    best = np.argmax(overlap, axis=1)
    every = np.arange(len(at))
    return overlap[every, best], at[every, best]


def _intersection_over_union(first: Numbers, second: Numbers) -> Numbers:
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (first, second)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1))


def _logit(chance: Numbers) -> Numbers:
    inside = np.clip(chance, _CLOSEST_PROBABILITY, 1 - _CLOSEST_PROBABILITY)
    return np.asarray(np.log(inside / (1 - inside)))


def _side(table: Mapping[str, Column], axis: str) -> Numbers:
    return _numbers(table, f"{axis}1") - _numbers(table, f"{axis}0")


def _numbers(table: Mapping[str, Column], name: str) -> Numbers:
    return table[name].astype(np.float64)
