"""Choosing among many: our algorithms over scikit-learn, scikit-activeml, modAL and FAISS.

    python benchmarks/selection.py [--quick] [--json FILE] [--peers-python PYTHON] [--only PART ...]

Ratios are time of the peer over ours, so that more is better; both ran in turns, and a ratio is of
medians. Every contender has the threads that it takes by itself. Points are a mixture of 200 clumps
that overlap; `far` clumps do not. `--peers-python` names an interpreter with the packages of the
dependency group `bench`; without it those rows are missing. Sizes are those of the names; `--quick`
takes a fifth of the points, and a tenth where all pairs are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from selection_service import two_rounds
from sklearn.cluster import KMeans
from table import row, show

from parfocal_suggestion.covering import cover_greedily
from parfocal_suggestion.distances import lower, middle, squared_norms
from parfocal_suggestion.k_centre import farthest_first, k_centre_greedy
from parfocal_suggestion.kmeans import Clusters, distances_to, group_means, k_means
from parfocal_suggestion.neighbours import nearest_neighbours
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.similarity import inverse_norms, most_similar
from parfocal_suggestion.single_thread import single_thread
from parfocal_suggestion.strategies import typiclust
from parfocal_suggestion.strategies.typiclust import TypiClust
from parfocal_suggestion.subvolumes import Windows

Points = NDArray[np.float32]
Rows = Iterator[dict[str, Any]]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Setting:
    """How large, how often, and where the peers are."""

    scale: float
    rounds: int
    peers: str

    def count(self, full: int, *, pairs: bool = False) -> int:
        return int(full * self.scale / (2 if pairs and self.scale < 1 else 1))


def mixture(rows: int, columns: int, *, spread: float = 1.0) -> Points:
    rng = np.random.default_rng(0)
    clumps = rng.normal(scale=spread, size=(200, columns)).astype(np.float32)
    points = clumps[rng.integers(0, 200, rows)]
    points += rng.standard_normal((rows, columns), dtype=np.float32)
    return points


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    with single_thread():
        result = work()
    return time.perf_counter() - start, result


def freely(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def in_turns(
    setting: Setting, ours: Callable[[], Any], theirs: Callable[[], tuple[float, Any]]
) -> tuple[float, float, Any, Any]:
    """Median seconds of both, and what the last runs gave."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(setting.rounds):
        took, mine = timed(ours)
        seconds[0].append(took)
        took, other = theirs()
        seconds[1].append(took)
    return statistics.median(seconds[0]), statistics.median(seconds[1]), mine, other


def peer(setting: Setting, name: str, points: Points, **parameters: Any) -> Callable[[], Any]:
    def run() -> tuple[float, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "points.npy")
            np.save(path, points)
            plain = {key: _plain(value, Path(folder, key)) for key, value in parameters.items()}
            command = [setting.peers, str(HERE / "selection_peers.py"), name, str(path)]
            ended = subprocess.run(
                [*command, json.dumps(plain)], check=True, capture_output=True, text=True
            )
        answer = json.loads(ended.stdout.splitlines()[-1])
        return answer["seconds"], answer["result"]

    return run


def _plain(value: Any, path: Path) -> Any:
    """A parameter as it goes through JSON: an array as the file where it lies."""
    if not isinstance(value, np.ndarray):
        return value
    np.save(path.with_suffix(".npy"), value)
    return str(path.with_suffix(".npy"))


def k_centre(setting: Setting) -> Rows:
    points = mixture(setting.count(1_000_000), 128)
    squared = np.full(len(points), np.inf, np.float32)
    with single_thread():
        lower(squared, points, points[:1000], origin=middle(points))
    squared[:1000] = -1

    def plain() -> tuple[Any, Any]:
        norms, left = squared_norms(points), squared.copy()
        rows, radii = [], []
        for _ in range(100):
            chosen = int(np.argmax(left))
            rows.append(chosen)
            radii.append(float(np.sqrt(left[chosen])))
            gaps = np.maximum(norms + norms[chosen] - 2 * (points @ points[chosen]), 0)
            np.minimum(left, gaps, out=left)
            left[chosen] = -1
        return rows, radii

    seconds, theirs, mine, other = in_turns(
        setting, lambda: farthest_first(points, squared, 100), lambda: freely(plain)
    )
    yield row("k-centre 100 of 1e6 x 128, distances kept", seconds, "s")
    yield row(".. over float32 BLAS", theirs / seconds, "ratio", least=10)
    yield row(".. same picks", float(np.mean(mine[0] == np.array(other[0]))), "share", least=1)
    yield row(".. same radius", float(mine[1][-1] / other[1][-1]), "ratio")
    if setting.peers:
        some = mixture(setting.count(100_000), 128)
        seconds, theirs, mine, other = in_turns(
            setting,
            lambda: k_centre_greedy(some[1000:], some[:1000], 100),
            peer(setting, "core_set", some, labelled=1000, picks=100),
        )
        yield row("k-centre 100 of 1e5 x 128, from scratch", seconds, "s")
        yield row(".. over scikit-activeml", theirs / seconds, "ratio", least=5)
        same = np.mean(mine[0] + 1000 == np.array(other))
        yield row(".. same picks", float(same), "share")


def clustering(setting: Setting) -> Rows:
    points = mixture(setting.count(1_000_000), 128)

    def theirs() -> Any:
        return KMeans(64, n_init=1, random_state=0).fit(points)

    def inertia(groups: Clusters) -> float:
        gaps = distances_to(points, groups.centres, groups.labels)
        return float(np.sum(np.square(gaps), dtype=np.float64))

    seconds, took, mine, other = in_turns(
        setting, lambda: k_means(points, 64, seed=0, n_init=1), lambda: freely(theirs)
    )
    yield row("k-means 64 of 1e6 x 128", seconds, "s")
    yield row(".. over scikit-learn", took / seconds, "ratio", least=3)
    yield row(".. inertia over scikit-learn's", inertia(mine) / other.inertia_, "ratio", most=1.02)
    if setting.peers:
        fast, spread = peer(setting, "clusters", points, k=64)()
        yield row(".. over FAISS, 25 iterations", fast / seconds, "ratio")
        yield row(".. FAISS's inertia over scikit-learn's", spread / other.inertia_, "ratio")
    groups = [points[mine.labels == label] for label in range(mine.k)]

    def ours_inside() -> float:
        found = (k_means(group, 4, seed=0, n_init=1) for group in groups)
        gaps = (
            distances_to(group, each.centres, each.labels)
            for group, each in zip(groups, found, strict=True)
        )
        return sum(float(np.sum(np.square(gap), dtype=np.float64)) for gap in gaps)

    def theirs_inside() -> float:
        return sum(KMeans(4, n_init=1, random_state=0).fit(group).inertia_ for group in groups)

    inside, took_inside, left, right = in_turns(setting, ours_inside, lambda: freely(theirs_inside))
    whole = (took + took_inside) / (seconds + inside)
    yield row("hierarchical 64 x 4 of 1e6 x 128", seconds + inside, "s")
    yield row(".. over scikit-learn", whole, "ratio", least=3)
    yield row(".. inertia over scikit-learn's", left / right, "ratio", most=1.02)


def typical(setting: Setting) -> Rows:
    if not setting.peers:
        return
    points = mixture(setting.count(50_000), 64)
    pool = Pool.of(range(len(points)), streams={"a": points})
    strategy = TypiClust(clusters=100)

    def ours() -> Any:
        return strategy.select(pool, 100, seed=0)

    like_ours = {"picks": 100, "neighbours": strategy.neighbours}
    seconds, theirs, mine, _ = in_turns(
        setting, ours, peer(setting, "typiclust", points, **like_ours)
    )
    yield row("TypiClust 100 of 5e4 x 64, each clusters", seconds, "s")
    yield row(".. over scikit-activeml", theirs / seconds, "ratio", least=10)
    # Both get the clusters of that run: whether the picks are the same, and the second half alone.
    clusters = Clusters(mine.clusters, group_means(points, mine.clusters, 100))
    with mock.patch.object(typiclust, "k_means", return_value=clusters):
        seconds, theirs, mine, other = in_turns(
            setting, ours, peer(setting, "typiclust", points, labels=mine.clusters, **like_ours)
        )
    yield row(".. of the same clusters", seconds, "s")
    yield row(".. .. over scikit-activeml", theirs / seconds, "ratio", least=10)
    same = len({*mine.candidates.tolist()} & {*other}) / 100
    yield row(".. .. same picks", same, "share", least=1)


def searching(setting: Setting) -> Rows:
    points = mixture(setting.count(1_000_000), 128)
    inverse = inverse_norms(points)
    if setting.peers:
        seconds, theirs, mine, other = in_turns(
            setting,
            lambda: most_similar(points, points[:64], 100, inverse=inverse),
            peer(setting, "cosine", points, queries=64, k=100),
        )
        yield row("cosine top-100 of 1e6 x 128, 64 at once", seconds / 64 * 1000, "ms")
        yield row(".. over FAISS flat", theirs / seconds, "ratio", least=2)
        yield row(".. same ids", float(np.mean(mine[0] == np.array(other))), "share", least=0.999)
        for spread, name in ((1.0, ""), (3.0, ", far clumps")):
            some = mixture(setting.count(100_000, pairs=True), 64, spread=spread)
            seconds, theirs, mine, other = in_turns(
                setting,
                lambda some=some: nearest_neighbours(some, 50)[0],
                peer(setting, "neighbours", some, k=50),
            )
            yield row(f"50 neighbours of 1e5 x 64{name}", seconds, "s")
            yield row(".. over FAISS flat", theirs / seconds, "ratio", least=3)
            shown = mine[:: max(1, len(mine) // 1000)]
            same = np.mean([len({*a} & {*b}) / 50 for a, b in zip(shown, other, strict=True)])
            yield row(".. same ids", float(same), "share", least=0.999)


def grid(*sides: int) -> NDArray[np.int64]:
    return np.stack(np.unravel_index(np.arange(np.prod(sides)), sides), axis=1).astype(np.int64)


def smooth(sides: tuple[int, int, int], columns: int) -> Points:
    """Features of patches on a grid that are alike where patches are near to each other."""
    rng = np.random.default_rng(0)
    waves = np.sin(
        grid(*sides) @ rng.normal(scale=0.4, size=(3, columns)) + rng.random(columns) * 6
    )
    return (waves + 0.3 * rng.normal(size=waves.shape)).astype(np.float32)


def by_sets(near: NDArray[np.int32], picks: int) -> list[int]:
    """The union of neighbours rebuilt for every patch and every pick, as first released."""
    sets = [set(each) for each in near.tolist()]
    chosen: list[int] = []
    covered: set[int] = set()
    for _ in range(picks):
        best, most = -1, -1
        for patch, reached in enumerate(sets):
            if patch not in chosen and len(covered | reached) > most:
                best, most = patch, len(covered | reached)
        chosen.append(best)
        covered |= sets[best]
    return chosen


def coverage(setting: Setting) -> Rows:
    def cover(sides: tuple[int, int, int], near: Any, window: Any, picks: int) -> Any:
        windows = Windows(grid(*sides), (1, 1, 1), window)
        free = windows.whole(np.ones(len(near), np.bool_))
        return cover_greedily(near, windows, free, np.zeros(len(near), np.bool_), picks)

    with single_thread():
        small, _ = nearest_neighbours(smooth((12, 23, 23), 32), 50)
    picks = 200 if setting.scale == 1 else 100
    single = Setting(1, 1, "")
    once, theirs, mine, other = in_turns(
        single,
        lambda: cover((12, 23, 23), small, (1, 1, 1), picks),
        lambda: freely(lambda: by_sets(small, picks)),
    )
    yield row(f"coverage of 6,348 patches, {picks} picks", once, "s")
    yield row(".. over sets", theirs / once, "ratio", least=100)
    yield row(".. same picks", float(np.mean(mine[0] == np.array(other))), "share", least=1)
    sides = (25, 63, 64)
    with single_thread():
        near, _ = nearest_neighbours(smooth(sides, 16), 50)
    one, many, _, _ = in_turns(
        setting,
        lambda: cover(sides, near, (1, 1, 1), 1000),
        lambda: timed(lambda: cover(sides, near, (2, 4, 4), 1000)),
    )
    yield row("coverage of 1e5 patches, 1,000 picks", one, "s", most=1)
    yield row(".. windows of 2 x 4 x 4 over that", many / one, "ratio", most=10)


def batches(setting: Setting) -> Rows:
    if not setting.peers:
        return
    points = mixture(setting.count(20_000), 32)
    seconds, theirs, _, _ = in_turns(
        setting,
        lambda: k_centre_greedy(points[100:], points[:100], 20),
        peer(setting, "ranked_batch", points, labelled=100, picks=20),
    )
    yield row("k-centre 20 of 2e4 x 32", seconds, "s")
    yield row(".. over modAL's ranked batch, another method", theirs / seconds, "ratio")


def service(setting: Setting) -> Rows:
    yield from two_rounds(mixture(setting.count(1_000_000), 128))


PARTS = {
    "k-centre": k_centre,
    "k-means": clustering,
    "typiclust": typical,
    "search": searching,
    "coverage": coverage,
    "batch": batches,
    "service": service,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peers-python", default="")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    quick = arguments.quick
    setting = Setting(0.2 if quick else 1, 1 if quick else 3, arguments.peers_python)
    table: list[dict[str, Any]] = []
    for name in arguments.only:
        for each in PARTS[name](setting):
            table.append(each)
            print(f"{each['name']}: {each['value']} {each['unit']}", file=sys.stderr, flush=True)
    show(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))
    return 0 if all(each["holds"] is not False for each in table) else 1


if __name__ == "__main__":
    sys.exit(main())
