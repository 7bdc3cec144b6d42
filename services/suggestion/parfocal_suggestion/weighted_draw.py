"""Draws without replacement where some have a better chance than others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Floats, Rows
from parfocal_suggestion.seeds import bit_generator, uniform

STRONGEST = 1e9

Doubles = NDArray[np.float64]


def uniforms(count: int, *, seed: int, stream: str, index: int = 0) -> Doubles:
    """Random numbers (count,) above 0 and below 1, the same in every NumPy release."""
    return np.maximum(uniform(bit_generator(seed, stream, index=index), (count,)), 2.0**-54)


def draw_order(log_weights: Doubles, chances: Doubles) -> Rows:
    """Draw all, one after the other, each with a chance in proportion to its weight.

    The first b of the order are a draw of b without replacement. It is the order of arrival of
    independent exponential waiting times, whose rates are the weights (P. S. Efraimidis,
    P. G. Spirakis, Weighted random sampling with a reservoir, IPL 97, 2006).

    Args:
        log_weights: (N,) logarithms of the weights; those of -inf come last, in uniform order.
        chances: (N,) random numbers above 0 and below 1.

    Returns:
        (N,) rows in the order in which they are drawn.
    """
    waiting = np.log(-np.log(chances))
    never = np.isneginf(log_weights)
    arrival = waiting - np.where(never, 0.0, log_weights)
    return np.lexsort((arrival, never))


def power_order(scores: Floats, strength: float, chances: Doubles) -> Rows:
    """Draw all, one after the other, with chances in proportion to a power of their scores.

    Args:
        scores: (N,) not negative; those of 0 come last, in uniform order.
        strength: The power, above 0, at most 1e9.
        chances: (N,) random numbers above 0 and below 1.

    Returns:
        (N,) rows in the order in which they are drawn.

    Raises:
        InvalidInput: If the strength is out of range.
    """
    # Beyond it, every weight is 0 in floating point, and the draw would be uniform.
    if not 0 < strength <= STRONGEST:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the strength of a draw must be above 0 and at most {STRONGEST:g}, got {strength}",
            field="strategy",
            value=strength,
        )
    with np.errstate(divide="ignore"):
        logs = np.log(scores.astype(np.float64))
    return draw_order(strength * logs, chances)
