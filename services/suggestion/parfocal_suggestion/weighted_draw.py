"""Draws without replacement where some have a better chance than others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Rows
from parfocal_suggestion.seeds import bit_generator

Doubles = NDArray[np.float64]


def uniforms(count: int, *, seed: int, stream: str, index: int = 0) -> Doubles:
    """Random numbers (count,) above 0 and below 1, the same in every NumPy release."""
    raw = bit_generator(seed, stream, index=index).random_raw(count)
    return (np.asarray(raw >> np.uint64(11), np.float64) + 0.5) * 2.0**-53


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
