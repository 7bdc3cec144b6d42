"""No strategy is random without anyone noticing: each beats random at what it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parfocal_suggestion.pool import Ids, Pool
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.strategies.probcover import ProbCover
from suggestion_pools import points

COUNT, BUDGET, SEEDS = 240, 24, 20


def crowd() -> Pool:
    """Candidates in six clumps, most of them sure of the first of three classes."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(COUNT, 1, 3)) + 0.7 * rng.normal(size=(COUNT, 5, 3)) + [1.5, 0, 0]
    powers = np.exp(logits)
    return Pool.of(
        range(COUNT),
        streams={"mask": points(COUNT, columns=3), "image": points(COUNT, seed=1)},
        predictions=powers / powers.sum(axis=2, keepdims=True),
        measures={
            "foreground": np.maximum(rng.normal(size=COUNT), 0),
            "predicted_loss": rng.gamma(1, size=COUNT),
        },
        labelled=[0, 1, 2],
        verdicts=[True] * 3,
    )


POOL = crowd()
VIEWS = POOL.views().astype(np.float64)
MEAN = VIEWS.mean(axis=1)


RADIUS = ProbCover().resolved(POOL, BUDGET).radius
ALL_GAPS = np.linalg.norm(POOL.stream("mask")[:, None] - POOL.stream("mask")[None], axis=2)

DIRECTIONS = POOL.stream("mask") / np.linalg.norm(POOL.stream("mask"), axis=1)[:, None]
ALIKE = (1 + DIRECTIONS @ DIRECTIONS.T) / 2


def nats(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.sum(p * np.log(p), axis=-1))


def gaps(*streams: str) -> Callable[[Ids], NDArray[np.float64]]:
    """Distance of every candidate to the nearest chosen or labelled one."""
    space = np.hstack([POOL.stream(name).astype(np.float64) for name in streams])

    def measured(picks: Ids) -> NDArray[np.float64]:
        taken = np.concatenate([picks, POOL.labelled])
        difference = space[:, None] - space[None, taken]
        return np.asarray(np.linalg.norm(difference, axis=2).min(axis=1))

    return measured


def gradient_gaps(picks: Ids) -> NDArray[np.float64]:
    """Distance of every candidate to the nearest chosen one among hypothetical gradients."""
    errors = MEAN - np.eye(3)[MEAN.argmax(axis=1)]
    features = POOL.stream("mask").astype(np.float64)
    gradients = (errors[:, :, None] * features[:, None]).reshape(COUNT, -1)
    return np.asarray(
        np.linalg.norm(gradients[:, None] - gradients[None, picks], axis=2).min(axis=1)
    )


def near(*streams: str) -> Callable[[Ids], float]:
    """Minus the mean distance to the nearest chosen or labelled one."""
    return lambda picks: -float(np.mean(gaps(*streams)(picks)))


def mean_of(values: NDArray[Any]) -> Callable[[Ids], float]:
    """The mean of what is chosen."""
    return lambda picks: float(np.mean(values[picks]))


OBJECTIVES: dict[str, Callable[[Ids], float]] = {
    "acft": mean_of(nats(np.sort(VIEWS, axis=1)[:, -1:, :]).sum(axis=1)),
    "badge": lambda picks: -float(np.mean(np.square(gradient_gaps(picks)))),
    "bald": mean_of(nats(MEAN) - nats(VIEWS).mean(axis=1)),
    "clasp-pe": lambda picks: min(float(np.mean((nats(MEAN) * MEAN[:, k])[picks])) for k in (1, 2)),
    "class-random": lambda picks: int(np.bincount(MEAN[picks].argmax(axis=1), minlength=3).min()),
    "core-set": lambda picks: -float(np.max(gaps("mask")(picks))),
    "coverage": lambda picks: len(np.unique(np.argsort(ALL_GAPS[picks], axis=1)[:, :30])),
    "entropy": mean_of(nats(MEAN)),
    "foreground-random": mean_of(POOL.measure("foreground") > 0),
    "k-means": near("mask"),
    "late-fusion": near("mask", "image"),
    "learning-loss": mean_of(POOL.measure("predicted_loss").astype(np.float64)),
    "least-confidence": mean_of(-MEAN.max(axis=1)),
    "margin": mean_of(-np.diff(np.sort(MEAN, axis=1)[:, -2:], axis=1)[:, 0]),
    "product": mean_of(nats(MEAN)),
    "sequence": mean_of(nats(MEAN)),
    "shares": mean_of(nats(MEAN)),
    "power-bald": mean_of(nats(MEAN) - nats(VIEWS).mean(axis=1)),
    "probcover": lambda picks: float(np.mean(gaps("mask")(picks) <= RADIUS)),
    "similarity": mean_of(ALIKE[:, POOL.labelled].max(axis=1) * ALIKE.mean(axis=1)),
    "two-stream": near("mask", "image"),
    "typiclust": lambda picks: -float(np.mean(np.sort(ALL_GAPS[picks], axis=1)[:, 1:11])),
}


def test_every_strategy_but_random_has_an_objective() -> None:
    assert set(OBJECTIVES) == set(STRATEGIES) - {"random"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_beats_random_at_its_own_objective(name: str) -> None:
    reached = {
        each: np.array(
            [
                OBJECTIVES[name](STRATEGIES[each]().select(POOL, BUDGET, seed=seed).candidates)
                for seed in range(SEEDS)
            ]
        )
        for each in (name, "random")
    }

    gain = reached[name] - reached["random"]
    error = gain.std(ddof=1) / np.sqrt(SEEDS)
    assert gain.mean() > 4 * error
    assert np.mean(gain > 0) >= 0.75
