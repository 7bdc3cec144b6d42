"""What other libraries take for the same selection; run by `selection.py` in their environment.

    python selection_peers.py NAME ARRAY.npy PARAMETERS

ARRAY holds points (N, d) float32, PARAMETERS is JSON. Prints JSON: seconds, and what was chosen.
Imports, reading and building an index are not in the seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Result = tuple[float, Any]


def timed(work: Callable[[], Any]) -> Result:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def core_set(points: Any, *, labelled: int, picks: int) -> Result:
    from skactiveml.pool import CoreSet

    answers = np.full(len(points), np.nan)
    answers[:labelled] = 0
    strategy = CoreSet(random_state=0)
    seconds, chosen = timed(lambda: strategy.query(points, answers, batch_size=picks))
    return seconds, np.asarray(chosen).tolist()


def typiclust(points: Any, *, picks: int, neighbours: int, labels: str = "") -> Result:
    from skactiveml.pool import TypiClust
    from sklearn.cluster import KMeans

    known = np.load(labels) if labels else None

    class Known:
        """Clusters that are known already."""

        def __init__(self, n_clusters: int) -> None:
            self.n_clusters = n_clusters

        def fit_predict(self, _: Any) -> Any:
            return known

    clusters = KMeans if known is None else Known
    strategy = TypiClust(random_state=0, k=neighbours, cluster_algo=clusters)
    answers = np.full(len(points), np.nan)
    seconds, chosen = timed(lambda: strategy.query(points, answers, batch_size=picks))
    return seconds, np.asarray(chosen).tolist()


def ranked_batch(points: Any, *, labelled: int, picks: int) -> Result:
    from modAL.batch import uncertainty_batch_sampling
    from modAL.models import ActiveLearner
    from sklearn.linear_model import LogisticRegression

    answers = np.arange(labelled) % 2
    learner = ActiveLearner(LogisticRegression(), X_training=points[:labelled], y_training=answers)
    rest = points[labelled:]
    seconds, chosen = timed(lambda: uncertainty_batch_sampling(learner, rest, n_instances=picks))
    return seconds, np.asarray(chosen[0] if isinstance(chosen, tuple) else chosen).tolist()


def cosine(points: Any, *, queries: int, k: int) -> Result:
    import faiss

    directions = points.copy()
    faiss.normalize_L2(directions)
    index = faiss.IndexFlatIP(points.shape[1])
    index.add(directions)
    seconds, (_, rows) = timed(lambda: index.search(directions[:queries], k))
    return seconds, rows.tolist()


def neighbours(points: Any, *, k: int) -> Result:
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    seconds, (_, rows) = timed(lambda: index.search(points, k))
    return seconds, rows[:: max(1, len(rows) // 1000)].tolist()


def clusters(points: Any, *, k: int) -> Result:
    import faiss

    k_means = faiss.Kmeans(points.shape[1], k, niter=25, seed=0, max_points_per_centroid=10**9)
    seconds, _ = timed(lambda: k_means.train(points))
    gaps, _ = k_means.index.search(points, 1)
    return seconds, float(gaps.sum(dtype=np.float64))


if __name__ == "__main__":
    work = {
        each.__name__: each
        for each in (core_set, typiclust, ranked_batch, cosine, neighbours, clusters)
    }
    seconds, result = work[sys.argv[1]](np.load(sys.argv[2]), **json.loads(sys.argv[3]))
    print(json.dumps({"seconds": seconds, "result": result}))
