"""TypiClust: the most typical candidate of each cluster that nobody has looked at.

G. Hacohen, A. Dekel, D. Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and
Low Budgets, ICML 2022, section 3.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_suggestion.kmeans import Clusters, distances_to, k_means, restarts
from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.typicality import mean_distance_to_nearest, smallest_mean_distances

MOST_CLUSTERS = 500
"""Clusters where none are asked for, at most, as published."""

_SMALLEST_DISTANCE = 1e-7


@dataclass(frozen=True)
class TypiClust:
    """Cluster the whole pool; take the most typical of the largest clusters without labels.

    There are as many clusters as candidates are labelled or asked for, at most 500. The picks go
    to the cluster with the fewest labels and picks, the largest of equals, those below
    `smallest_cluster` last. Typical is who is close to its neighbours in its cluster, the
    labelled ones included: typicality is 1 over the mean distance to the nearest of them.

    Attributes:
        stream: Features to cluster; the first stream of the pool if empty.
        clusters: Clusters, or 0 to derive it.
        neighbours: Neighbours that typicality is the mean of; fewer in smaller clusters.
        smallest_cluster: Clusters with fewer candidates come last.
        starts: Starts of k-means, or 0 to derive it.
    """

    stream: str = ""
    clusters: int = 0
    neighbours: int = 20
    smallest_cluster: int = 5
    starts: int = 0

    name: ClassVar[str] = "typiclust"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "most typical candidate of the largest clusters without labels"
    reference: ClassVar[str] = "Hacohen et al., ICML 2022"
    score: ClassVar[str] = "typicality: 1 over the mean distance to the nearest of its cluster"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream and fill in clusters and starts."""
        clusters = self.clusters or min(len(pool.labelled) + budget, MOST_CLUSTERS)
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
        """Choose `min(budget, available)` candidates, in the order of the clusters.

        Raises:
            InvalidInput: If there is no such stream.
        """
        features = pool.stream(self.stream)
        if not np.any(pool.available):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        checkpoint()
        groups = k_means(
            features,
            strategy.clusters,
            seed=derived_seed(seed, "clusters"),
            n_init=strategy.starts,
        )
        rows, scores = strategy._most_typical(pool, features, groups, budget, checkpoint)
        return Selection(
            candidates=pool.candidates[rows],
            scores=scores,
            cells=groups.labels,
            clusters=groups.labels,
            distances=distances_to(features, groups.centres, groups.labels),
        )

    def _most_typical(
        self,
        pool: Pool,
        features: Floats,
        groups: Clusters,
        budget: int,
        checkpoint: Checkpoint,
    ) -> tuple[Rows, Floats]:
        order = self._order_of_clusters(pool, groups, budget)
        ends = np.cumsum(np.bincount(groups.labels, minlength=groups.k))
        members = np.split(np.argsort(groups.labels, kind="stable"), ends[:-1])
        asked, times = np.unique(order, return_counts=True)
        # Most clusters are asked for one, which is found without ranking the others.
        once = [each for each in asked[times == 1].tolist() if len(members[each]) > 1]
        smallest = smallest_mean_distances(
            features,
            [members[each] for each in once],
            self.neighbours,
            pool.available,
            floor=_SMALLEST_DISTANCE,
            checkpoint=checkpoint,
        )
        best = {
            cluster: _ranked(found, _inverse(distances))
            for cluster, (found, distances) in zip(once, smallest, strict=True)
        }
        for cluster in set(asked.tolist()).difference(once):
            checkpoint()
            own = members[cluster]
            left = pool.available[own]
            best[cluster] = _ranked(own[left], self._typicality(features[own])[left])
        rows = np.empty(len(order), np.intp)
        scores = np.empty(len(order), np.float32)
        for cluster, (found, typicality) in best.items():
            places = np.flatnonzero(order == cluster)
            rows[places], scores[places] = found[: len(places)], typicality[: len(places)]
        return rows, scores

    def _order_of_clusters(self, pool: Pool, groups: Clusters, budget: int) -> Rows:
        """The cluster of each pick."""
        sizes, labels, left = (
            np.bincount(groups.labels[mask], minlength=groups.k)
            for mask in (slice(None), pool.taken, pool.available)
        )
        queue = [
            (bool(size < self.smallest_cluster), int(count), -int(size), cluster)
            for cluster, (size, count) in enumerate(zip(sizes, labels, strict=True))
            if left[cluster]
        ]
        heapq.heapify(queue)
        order: list[int] = []
        while queue and len(order) < budget:
            small, count, size, cluster = heapq.heappop(queue)
            order.append(cluster)
            left[cluster] -= 1
            if left[cluster]:
                heapq.heappush(queue, (small, count + 1, size, cluster))
        return np.array(order, np.intp)

    def _typicality(self, features: Floats) -> Floats:
        if len(features) == 1:
            return np.ones(1, np.float32)
        count = min(self.neighbours, len(features) - 1)
        return _inverse(mean_distance_to_nearest(features, count))


def _ranked(rows: Rows, typicality: Floats) -> tuple[Rows, Floats]:
    """The most typical first, the first of equals."""
    order = np.argsort(-typicality, kind="stable")
    return rows[order], typicality[order]


def _inverse(distances: Floats) -> Floats:
    return np.asarray(1 / np.maximum(distances, _SMALLEST_DISTANCE), np.float32)
