"""Late fusion: cells of candidates that look alike in all streams at once.

The joined-features baseline of two-stream active query suggestion (Z. Lin et al., Two Stream
Active Query Suggestion for Active Learning in Connectomics, ECCV 2020, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.cells import Cells, complete, query_cells
from parfocal_suggestion.fusion import fuse
from parfocal_suggestion.kmeans import k_means, restarts
from parfocal_suggestion.plan import plan
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class LateFusion:
    """Cluster [F_s | F_u] into cells and query each.

    Attributes:
        first_stream: Stream to join.
        second_stream: Stream to join it with.
        cells: Number of cells (K), or 0 to derive it.
        queries_per_cell: Queries per cell (Q), or 0 to derive it.
        raw_scale: Join without scaling, as published: the stream with more columns then decides.
        starts: Starts of each k-means, or 0 to derive it.
    """

    first_stream: str = "mask"
    second_stream: str = "image"
    cells: int = 0
    queries_per_cell: int = 0
    raw_scale: bool = False
    starts: int = 0

    name: ClassVar[str] = "late-fusion"
    version: ClassVar[str] = "3"
    summary: ClassVar[str] = "k-means cells on all streams joined, a few queries in each"
    reference: ClassVar[str] = "Lin et al., ECCV 2020, section 4.1"
    score: ClassVar[str] = "candidates of the cell per query"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in cells, queries and starts."""
        planned = plan(
            budget, clusters=self.cells, cells_per_cluster=1, queries=self.queries_per_cell
        )
        return replace(
            self,
            cells=planned.clusters,
            queries_per_cell=planned.queries,
            starts=self.starts or restarts(len(pool), planned.clusters),
        )

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the joined streams."""
        first, second = pool.stream(self.first_stream), pool.stream(self.second_stream)
        return fuse(first, second, raw=self.raw_scale)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, cell by cell.

        Raises:
            InvalidInput: If a stream is missing.
        """
        if not np.any(pool.unlabelled):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        features = self.space(pool)
        known = pool.unlabelled
        checkpoint()
        groups = k_means(
            features[known],
            strategy.cells,
            seed=derived_seed(seed, "cells"),
            n_init=strategy.starts,
        )
        cells = complete(features, known, groups)
        return query_cells(
            pool,
            features,
            Cells(cells=cells, clusters=cells, centres=groups.centres),
            budget,
            seed=seed,
            n_init=strategy.starts,
            checkpoint=checkpoint,
        )
