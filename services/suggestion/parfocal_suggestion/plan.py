"""How many clusters, cells and queries per cell a budget makes, where nobody says."""

from __future__ import annotations

from dataclasses import dataclass

MANY_QUERIES_FROM = 500
"""Budgets from here on use five queries per cell, as published for 640 and 1280; smaller ones
three, since with few labels more cells are worth more than surer ones."""

MANY_CELLS_FROM = 64
"""From so many cells on, clusters hold four cells each (64 x 4 was the best published); below,
two."""


@dataclass(frozen=True)
class Plan:
    """Numbers of clusters, of cells per cluster and of queries per cell, each at least 1."""

    clusters: int
    cells_per_cluster: int
    queries: int


def plan(budget: int, *, clusters: int = 0, cells_per_cluster: int = 0, queries: int = 0) -> Plan:
    """Fill in the numbers left at 0 so that their product comes near to the budget from below.

    Queries are odd by default, so that a full cell cannot tie. What the product leaves of the
    budget goes to the largest cells.

    Args:
        budget: Queries in all, at least 1.
        clusters: First-level clusters (N_s), or 0.
        cells_per_cluster: Cells in each (M), or 0.
        queries: Queries per cell (Q), or 0.
    """
    queries = queries or (5 if budget >= MANY_QUERIES_FROM else 3)
    cells = max(1, budget // queries)
    if not cells_per_cluster and clusters:
        cells_per_cluster = max(1, cells // clusters)
    elif not cells_per_cluster:
        cells_per_cluster = 4 if cells >= MANY_CELLS_FROM else min(2, cells)
    return Plan(clusters or max(1, cells // cells_per_cluster), cells_per_cluster, queries)
