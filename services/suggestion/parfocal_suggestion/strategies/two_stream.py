"""Two-stream hierarchical: cells of alike mask, split by alike texture, a few queries in each.

Z. Lin, D. Wei, W.-D. Jang, S. Zhou, X. Chen, X. Wang, R. Schalek, D. Berger, B. Matejek,
L. Kamentsky, A. Peleg, D. Haehn, T. Jones, T. Parag, J. Lichtman, H. Pfister, Two Stream Active
Query Suggestion for Active Learning in Connectomics, ECCV 2020, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.cells import Cells, complete, query_cells
from parfocal_suggestion.kmeans import k_means, restarts
from parfocal_suggestion.plan import plan
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.represented import far_from_labelled
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class TwoStream:
    """Cluster the first stream (N_s), each cluster by the second (M), and query each cell (Q).

    Attributes:
        first_stream: Stream of the first level, such as the embedding of predicted masks.
        second_stream: Stream of the second level and of the queries, such as that of the images.
        first_clusters: First-level clusters (N_s), or 0 to derive it.
        second_clusters: Cells in each cluster (M), or 0 to derive it.
        queries_per_cell: Queries per cell (Q), or 0 to derive it.
        starts: Starts of each k-means, or 0 to derive it.
        avoid_overrepresented: In first-level clusters with more than their even share of labels,
            ask only about those farthest from the labelled in the second stream: a fifth of the
            cluster, or its share of the budget where that is more. A rule of the released code,
            not of the paper.
    """

    first_stream: str = "mask"
    second_stream: str = "image"
    first_clusters: int = 0
    second_clusters: int = 0
    queries_per_cell: int = 0
    starts: int = 0
    avoid_overrepresented: bool = False

    name: ClassVar[str] = "two-stream"
    version: ClassVar[str] = "3"
    summary: ClassVar[str] = "k-means cells by mask, then by texture, a few queries in each"
    reference: ClassVar[str] = "Lin et al., ECCV 2020, section 4.1"
    score: ClassVar[str] = "candidates of the cell per query"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in clusters, cells, queries and starts."""
        planned = plan(
            budget,
            clusters=self.first_clusters,
            cells_per_cluster=self.second_clusters,
            queries=self.queries_per_cell,
        )
        return replace(
            self,
            first_clusters=planned.clusters,
            second_clusters=planned.cells_per_cluster,
            queries_per_cell=planned.queries,
            starts=self.starts or restarts(len(pool), planned.clusters),
        )

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the second stream."""
        return pool.stream(self.second_stream)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, cell by cell.

        Raises:
            InvalidInput: If a stream is missing or both names are the same.
        """
        if self.first_stream == self.second_stream:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                "two_stream needs two different streams",
                field="strategy",
                value=self.first_stream,
            )
        if not np.any(pool.unlabelled):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        cells = strategy._cells(pool, seed=seed, checkpoint=checkpoint)
        textures = pool.stream(self.second_stream)
        among = None
        if self.avoid_overrepresented:
            among = far_from_labelled(pool, textures, cells.clusters, budget)
        return query_cells(
            pool,
            textures,
            cells,
            budget,
            seed=seed,
            n_init=strategy.starts,
            checkpoint=checkpoint,
            among=among,
        )

    def _cells(self, pool: Pool, *, seed: int, checkpoint: Checkpoint) -> Cells:
        masks, textures = pool.stream(self.first_stream), pool.stream(self.second_stream)
        known = pool.unlabelled
        checkpoint()
        level1 = k_means(
            masks[known],
            self.first_clusters,
            seed=derived_seed(seed, "clusters"),
            n_init=self.starts,
        )
        clusters = complete(masks, known, level1)
        cells = np.empty(len(pool), np.int32)
        centres = np.empty((0, textures.shape[1]), np.float32)
        for cluster in range(level1.k):
            checkpoint()
            rows = np.flatnonzero(clusters == cluster)
            inside = textures[rows]
            groups = k_means(
                inside[known[rows]],
                self.second_clusters,
                seed=derived_seed(seed, "cells", index=cluster),
                n_init=self.starts,
            )
            cells[rows] = len(centres) + complete(inside, known[rows], groups)
            centres = np.concatenate([centres, groups.centres])
        return Cells(cells=cells, clusters=clusters, centres=centres)
