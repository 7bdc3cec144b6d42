"""Cells of look-alike candidates, and which members of each are put to people.

The edge rules of two-stream query suggestion live here, shared by every strategy that queries
cell by cell: tiny cells, coinciding points, and a budget that the cells do not divide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.distances import nearest
from parfocal_suggestion.kmeans import Clusters, distances_to, k_means
from parfocal_suggestion.pool import Floats, Mask, Pool, Rows
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection


@dataclass(frozen=True)
class Cells:
    """A cell for every candidate of a pool.

    Attributes:
        cells: (N,) int32, contiguous from 0; cells of one cluster follow each other.
        clusters: (N,) int32, the first-level cluster; equal to `cells` where there is one level.
        centres: (cells, d) float32 in the space of the queries.
    """

    cells: NDArray[np.int32]
    clusters: NDArray[np.int32]
    centres: Floats


def complete(features: Floats, known: Mask, groups: Clusters) -> NDArray[np.int32]:
    """Give the points that were not clustered the label of the nearest centre.

    Args:
        features: (N, d) all points.
        known: (N,) True for the points that were clustered, in the order of `groups.labels`.
        groups: The clusters of those.

    Returns:
        (N,) labels.
    """
    labels = np.empty(len(features), np.int32)
    labels[known] = groups.labels
    if not np.all(known):
        labels[~known] = nearest(features[~known], groups.centres)[0]
    return labels


def allot(sizes: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Share a budget over cells: evenly, never more than a cell holds, the rest to the largest.

    Cells are filled in rounds of one query each; a cell that is used up drops out, and a last
    round that cannot serve all serves the largest (the first of equals).

    Args:
        sizes: (cells,) members that can be chosen.
        budget: Queries to share, at least 0.

    Returns:
        (cells,) queries, which sum to `min(budget, sizes.sum())`.
    """
    if budget >= sizes.sum():
        return sizes.copy()
    low, high = 0, int(sizes.max())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= budget else (low, middle)
    shares = np.minimum(sizes, low)
    by_size = np.lexsort((np.arange(len(sizes)), -sizes))
    shares[by_size[: budget - shares.sum()]] += 1
    return shares


def query_cells(
    pool: Pool,
    features: Floats,
    cells: Cells,
    budget: int,
    *,
    seed: int,
    n_init: int,
    checkpoint: Checkpoint,
    among: Mask | None = None,
) -> Selection:
    """Choose the representatives of every cell, in order of cell, then distance to its centre.

    Inside a cell the available members are clustered into as many groups as it has queries, and
    the member nearest to each group's centre is asked about.

    Args:
        pool: Candidates, N of them.
        features: (N, d) space of the queries.
        cells: The partition of the pool.
        budget: Queries; all available candidates are returned if it exceeds them.
        seed: Seed of the selection.
        n_init: Starts of each k-means.
        checkpoint: Called once per cell.
        among: (N,) True where a member may be asked about, if not all that are available may.
    """
    distances = distances_to(features, cells.centres, cells.cells)
    free = np.flatnonzero(pool.available if among is None else among)
    members = free[np.argsort(cells.cells[free], kind="stable")]
    sizes = np.bincount(cells.cells[free], minlength=len(cells.centres))
    shares = allot(sizes, budget)
    ends = np.cumsum(sizes)
    chosen = [np.empty(0, np.intp)]
    for cell in np.flatnonzero(shares):
        checkpoint()
        rows = members[ends[cell] - sizes[cell] : ends[cell]]
        cell_seed = derived_seed(seed, "queries", index=int(cell))
        picked = rows[_representatives(features[rows], int(shares[cell]), cell_seed, n_init)]
        chosen.append(picked[np.lexsort((picked, distances[picked]))])
    rows = np.concatenate(chosen)
    speaks_for = np.bincount(cells.cells) / np.maximum(shares, 1)
    return Selection(
        candidates=pool.candidates[rows],
        scores=speaks_for[cells.cells[rows]].astype(np.float32),
        cells=cells.cells,
        clusters=cells.clusters,
        distances=distances,
    )


def _representatives(features: Floats, queries: int, seed: int, n_init: int) -> Rows:
    if queries >= len(features):
        return np.arange(len(features))
    groups = k_means(features, queries, seed=seed, n_init=n_init)
    distances = distances_to(features, groups.centres, groups.labels)
    order = np.lexsort((distances, groups.labels))
    first = np.unique(groups.labels[order], return_index=True)[1]
    # Coinciding members make fewer groups than queries: the next nearest make up the number.
    spare = np.delete(order, first)
    spare = spare[np.argsort(distances[spare], kind="stable")]
    return np.concatenate([order[first], spare[: queries - len(first)]])
