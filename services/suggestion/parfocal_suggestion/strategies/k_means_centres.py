"""k-means: one candidate from the middle of each of as many clusters as the budget.

Clustering as a batch strategy: F. Zhdanov, Diverse mini-batch Active Learning, arXiv 1901.05954
(2019), section 3, without weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.cells import Cells, complete, query_cells
from parfocal_suggestion.kmeans import k_means, restarts
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint


@dataclass(frozen=True)
class KMeansCentres:
    """Cluster the unlabelled candidates and take the one nearest to each centre.

    A cluster of which nothing can be chosen leaves its pick to the largest; labelled candidates do
    not shape the clusters. The order is that of the clusters.

    Attributes:
        stream: Features to cluster; the first stream of the pool if empty.
        clusters: Clusters, or 0 for as many as the budget.
        starts: Starts of k-means, or 0 to derive it.
    """

    stream: str = ""
    clusters: int = 0
    starts: int = 0

    name: ClassVar[str] = "k-means"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "k-means, the candidate nearest to each centre"
    reference: ClassVar[str] = "Zhdanov, 2019"
    score: ClassVar[str] = "candidates of the cluster per pick"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream and fill in clusters and starts."""
        clusters = self.clusters or budget
        return replace(
            self,
            stream=self.stream or next(iter(pool.streams), ""),
            clusters=clusters,
            starts=self.starts or restarts(len(pool), clusters),
        )

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the stream."""
        return pool.stream(self.stream)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose `min(budget, available)` candidates, cluster by cluster.

        Raises:
            InvalidInput: If there is no such stream.
        """
        features = pool.stream(self.stream)
        known = pool.unlabelled
        if not np.any(known):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        checkpoint()
        groups = k_means(
            features[known],
            strategy.clusters,
            seed=derived_seed(seed, "clusters"),
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
