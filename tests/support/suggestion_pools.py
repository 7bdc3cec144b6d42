"""Pools that have all that any strategy asks for by default."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Ids, Pool


def points(count: int, *, seed: int = 0, columns: int = 5) -> NDArray[np.float32]:
    """Points (count, columns) in six loose clumps."""
    rng = np.random.default_rng(seed)
    clumps = rng.normal(scale=3, size=(6, columns))
    spread = rng.normal(size=(count, columns))
    return (clumps[rng.integers(0, 6, count)] + spread).astype(np.float32)


def views(count: int) -> NDArray[np.float32]:
    """Class probabilities (count, 4, 3) of four views each, some surer than others."""
    logits = 2 * np.random.default_rng(3).normal(size=(count, 4, 3))
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.asarray(powers / powers.sum(axis=2, keepdims=True), np.float32)


def measures(count: int, rows: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
    """One measure of each name that a strategy asks for by default; half of them are 0."""
    values = np.maximum(np.random.default_rng(4).normal(size=(2, count)), 0).astype(np.float32)
    return {"foreground": values[0, rows], "predicted_loss": values[1, rows]}


def alike(features: NDArray[np.float32]) -> Pool:
    """Candidates that differ in their features at most."""
    count = len(features)
    return Pool.of(
        np.arange(count),
        streams={"mask": features, "image": features},
        probabilities=np.full(count, 0.5),
        predictions=np.full((count, 3, 2), 0.5),
        measures={"foreground": np.ones(count), "predicted_loss": np.ones(count)},
    )


def pool_of(
    ids: Ids | range, *, labelled: tuple[int, ...] = (), excluded: tuple[int, ...] = ()
) -> Pool:
    """The candidates `ids` out of a hundred, in the order given; each third label is False."""
    rows = np.asarray(ids)
    return Pool.of(
        rows,
        streams={"mask": points(100, columns=3)[rows], "image": points(100, seed=1)[rows]},
        probabilities=np.random.default_rng(2).random(100, np.float32)[rows],
        predictions=views(100)[rows],
        measures=measures(100, rows),
        labelled=labelled,
        verdicts=[candidate % 3 != 0 for candidate in labelled],
        excluded=excluded,
    )
