"""One suggestion: a random share set apart first, the strategy's picks, one queue of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.choosing import Gate, choose
from parfocal_suggestion.constraints import UNCONSTRAINED, Constraints
from parfocal_suggestion.limits import limits_of
from parfocal_suggestion.pool import Floats, Ids, Mask, Pool
from parfocal_suggestion.random_share import Draw, RandomWeights, draw_by_weight
from parfocal_suggestion.selection import Checkpoint, Selection, Strategy, no_checkpoint
from parfocal_suggestion.single_thread import single_thread
from parfocal_suggestion.strategies.coverage import check_asked_once
from parfocal_suggestion.strategies.random_draw import drawn_rows

Scalar = TypeVar("Scalar", bound=np.generic)


_RANDOM_REFUSED = (
    "the random share is no uniform sample of the pool: limits passed over {} of its draws"
)


class Role(StrEnum):
    """Why a candidate is in the queue."""

    STRATEGY = "strategy"
    RANDOM = "random"


@dataclass(frozen=True)
class Suggestion:
    """The queue of a round: picks in the order they are shown.

    Attributes:
        strategy: The strategy with every parameter filled in.
        budget: Picks that were asked for.
        seed: The seed.
        random_share: The share of the budget that was drawn at random.
        candidates: (B,) int64 ids, each once.
        is_random: (B,) True for the reserved random share.
        scores: (B,) float32, NaN where there is none.
        selection: What the strategy chose, and how it divided the pool.
        notes: What could not be done as asked, one sentence each.
        gate: What stood against candidates that were not chosen.
        chances: (B,) float64, the chance of each random pick to be drawn, NaN for the others.
    """

    strategy: Strategy
    budget: int
    seed: int
    random_share: float
    candidates: Ids
    is_random: Mask
    scores: Floats
    selection: Selection
    notes: tuple[str, ...]
    gate: Gate
    chances: NDArray[np.float64]

    @property
    def roles(self) -> list[Role]:
        """Role of each pick."""
        return [Role.RANDOM if drawn else Role.STRATEGY for drawn in self.is_random]


def suggest(
    pool: Pool,
    strategy: Strategy,
    budget: int,
    *,
    seed: int,
    random_share: float = 0.0,
    constraints: Constraints = UNCONSTRAINED,
    random_weights: RandomWeights | None = None,
    checkpoint: Checkpoint = no_checkpoint,
) -> Suggestion:
    """Choose `min(budget, available)` candidates, or as many as the constraints admit.

    The random share is drawn first, with known chances from all that is available and from random
    numbers of its own, so that it is an unbiased sample of the pool whatever the strategy does. The
    strategy then chooses from the rest, knowing that the drawn ones will be labelled. Random
    picks are spread evenly: the i-th of r stands at place floor((i + 1/2) B / r) of the B.

    Under constraints the draw passes over what they refuse: it is uniform among what they admit
    at each draw, which is no uniform sample of the pool as soon as one was passed over. A draw with
    weights is not continued then: there are fewer random picks, and more of the strategy.

    Args:
        pool: What to choose from.
        strategy: How to choose.
        budget: Picks wanted, at least 1.
        seed: Not negative; the same inputs and seed give the same suggestion, bit for bit.
        random_share: Share of the picks drawn at random, 0 to 1, rounded half up to a number.
        constraints: What may be chosen together.
        random_weights: Which candidates have a better chance there; None gives all the same.
        checkpoint: Called between pieces of work.

    Raises:
        InvalidInput: If budget or share is out of range, or the strategy cannot work here or under
            constraints.
    """
    _check(budget, random_share)
    check_asked_once(strategy, limited=constraints != UNCONSTRAINED)
    gate = Gate(pool, limits_of(constraints, pool, budget))
    admitted = gate.open_part(pool)
    picks = gate.room(admitted, budget)
    count = math.floor(random_share * picks + 0.5)
    share = _draw(admitted, count, gate, seed=seed, weights=random_weights)
    drawn = share.candidates
    refused = gate.passed_over
    wanted = min(budget, int(np.count_nonzero(pool.available))) - len(drawn)
    filled = strategy.resolved(admitted, max(1, picks - len(drawn)))
    with single_thread():
        selection = choose(
            admitted.with_pending(drawn), filled, wanted, gate, seed=seed, checkpoint=checkpoint
        )
    is_random = _random_places(len(drawn) + len(selection.candidates), len(drawn))
    return Suggestion(
        strategy=filled,
        budget=budget,
        seed=seed,
        random_share=random_share,
        candidates=_interleave(is_random, drawn, selection.candidates),
        is_random=is_random,
        scores=_interleave(is_random, np.full(len(drawn), np.nan, np.float32), selection.scores),
        selection=selection,
        notes=(
            *gate.notes(len(is_random), wanted + len(drawn)),
            *([_RANDOM_REFUSED.format(refused)] if refused else []),
        ),
        gate=gate,
        chances=_interleave(is_random, share.chances, np.full(len(selection.candidates), np.nan)),
    )


def _draw(pool: Pool, count: int, gate: Gate, *, seed: int, weights: RandomWeights | None) -> Draw:
    if weights is not None:
        share = draw_by_weight(pool, count, seed=seed, weights=weights)
        taken = gate.take_in_order(pool.rows_of(share.candidates), count)
        return Draw(share.candidates[taken], share.chances[taken])
    # Under limits all of them in the order of the draw: passing over some needs no second one.
    wanted = len(pool) if gate.limits and count else count
    rows = drawn_rows(pool, wanted, seed=seed, stream="random share")
    drawn = pool.candidates[rows[gate.take_in_order(rows, count)]]
    available = int(np.count_nonzero(pool.available))
    return Draw(drawn, np.full(len(drawn), len(drawn) / max(available, 1)))


def _check(budget: int, random_share: float) -> None:
    if budget < 1:
        raise InvalidInput(
            "ERROR_REASON_INVALID_BUDGET",
            f"the budget must be at least 1, got {budget}",
            field="budget",
            budget=budget,
        )
    if not 0 <= random_share <= 1:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"random_share must lie in 0 to 1, got {random_share}",
            field="random_share",
            value=random_share,
        )


def _random_places(picks: int, drawn: int) -> Mask:
    places = np.zeros(picks, np.bool_)
    places[(2 * np.arange(drawn) + 1) * picks // (2 * drawn or 1)] = True
    return places


def _interleave(
    is_random: Mask, drawn: NDArray[Scalar], chosen: NDArray[Scalar]
) -> NDArray[Scalar]:
    queue = np.empty(len(is_random), chosen.dtype)
    queue[is_random] = drawn
    queue[~is_random] = chosen
    return queue
