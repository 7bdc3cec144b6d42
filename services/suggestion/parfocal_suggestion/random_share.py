"""A random share of which some candidates are likelier members, each with a chance that is known.

An estimate from the share is unbiased for the pool if each pick counts one over its chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Ids, Pool, Rows
from parfocal_suggestion.seeds import bit_generator
from parfocal_suggestion.weighted_draw import Doubles, uniforms

LARGEST_STRENGTH = 0.9
"""Above it so few picks would stand for the candidates without foreground that nothing is known
of them."""

_STREAM = "random share"
# A chance this close to 1 is 1: sums of chances are not exact.
_CERTAIN = 1 - 1e-9


@dataclass(frozen=True)
class RandomWeights:
    """Give candidates with much of a measure, such as foreground, a better chance.

    The chance of a candidate is in proportion to (1 - strength) / N + strength m / sum(m), so the
    least chance is 1 - strength of a uniform one, and no candidate is out of reach.

    Attributes:
        measure: Name of the measure; its numbers must not be negative.
        strength: How much of the chance follows the measure, above 0 and at most .9.
    """

    measure: str
    strength: float = 0.5

    def __post_init__(self) -> None:
        """Check the strength.

        Raises:
            InvalidInput: If it is out of range (`ERROR_REASON_INVALID_FIELD`).
        """
        if not 0 < self.strength <= LARGEST_STRENGTH:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the strength must be above 0 and at most {LARGEST_STRENGTH}, got {self.strength}",
                field="random_weights.strength",
                value=self.strength,
            )


@dataclass(frozen=True)
class Draw:
    """Candidates drawn at random.

    Attributes:
        candidates: (n,) int64, in random order: the first k of them are such a draw, too.
        chances: (n,) float64, the chance that each had of being among them.
    """

    candidates: Ids
    chances: Doubles


def draw_by_weight(pool: Pool, count: int, *, seed: int, weights: RandomWeights) -> Draw:
    """Draw `count` available candidates, each with a chance that follows its weight.

    Args:
        pool: What to draw from.
        count: At most the number of available candidates.
        seed: The seed.
        weights: Which have a better chance.

    Raises:
        InvalidInput: If there is no such measure, or it is negative somewhere
            (`ERROR_REASON_INVALID_FIELD`).
    """
    free = np.flatnonzero(pool.available)
    chances = inclusion_chances(_wishes(pool, free, weights), count)
    rows = systematic_draw(chances, seed=seed)
    return Draw(pool.candidates[free[rows]], chances[rows])


def inclusion_chances(wishes: Doubles, count: int) -> Doubles:
    """Return chances (N,) in proportion to `wishes`, none above 1, that add up to `count`.

    Args:
        wishes: (N,) above 0.
        count: 0 to N.
    """
    chances = np.zeros(len(wishes))
    certain = np.zeros(len(wishes), np.bool_)
    while True:
        rest = ~certain
        left = count - int(np.count_nonzero(certain))
        chances[certain] = 1.0
        chances[rest] = left * wishes[rest] / max(_total(wishes[rest]), np.finfo(float).tiny)
        above = rest & (chances >= _CERTAIN)
        if not above.any():
            return chances
        certain |= above


def systematic_draw(chances: Doubles, *, seed: int) -> Rows:
    """Draw rows, each with exactly its chance, as many as the chances add up to.

    Candidates are laid end to end in random order, each as long as its chance, and a grid of step
    1 with a random start picks those that it hits (W. G. Madow, On the theory of systematic
    sampling II, 1949; H. O. Hartley, J. N. K. Rao, Sampling with unequal probabilities and without
    replacement, 1962). Those of chance 1 are taken beforehand.

    Returns:
        (n,) rows in random order.
    """
    certain = np.flatnonzero(chances >= _CERTAIN)
    others = np.flatnonzero(chances < _CERTAIN)
    count = round(_total(chances[others]))
    order = others[_shuffled(len(others), seed=seed, index=0)]
    ends = np.cumsum(chances[order])
    start = uniforms(1, seed=seed, stream=_STREAM, index=1)[0]
    hits = np.searchsorted(ends, start + np.arange(count), side="right")
    picked = np.concatenate([certain, order[np.minimum(hits, len(order) - 1)]])
    return picked[_shuffled(len(picked), seed=seed, index=2)]


def _wishes(pool: Pool, free: Rows, weights: RandomWeights) -> Doubles:
    measure = pool.measure(weights.measure)[free].astype(np.float64)
    if np.any(measure < 0):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the measure {weights.measure!r} is negative for candidate "
            f"{int(pool.candidates[free[np.argmin(measure)]])}, and no chance can be",
            field="random_weights.measure",
            value=weights.measure,
        )
    total = _total(measure)
    even = np.full(len(free), 1 / max(len(free), 1))
    if total == 0:
        return even
    return (1 - weights.strength) * even + weights.strength * measure / total


def _total(values: Doubles) -> float:
    # One after the other, so that the sum is the same on every processor.
    return float(np.cumsum(values)[-1]) if len(values) else 0.0


def _shuffled(count: int, *, seed: int, index: int) -> Rows:
    keys = bit_generator(seed, f"{_STREAM} weighted", index=index).random_raw(count)
    return np.argsort(keys, kind="stable")
