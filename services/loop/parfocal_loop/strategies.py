"""Strategies inside of strategies, as a round names them."""

from __future__ import annotations

from typing import Any

from parfocal.suggestion.v1 import strategy_pb2 as strategies


def with_inner(strategy: strategies.Strategy) -> list[tuple[str, Any]]:
    """Return the kind and the parameters of a strategy and of all inside of it, the outer first.

    A part without a strategy in it is passed over; the suggestion service refuses it.
    """
    kind = strategy.WhichOneof("strategy")
    if kind is None:
        return []
    parameters = getattr(strategy, kind)
    found: list[tuple[str, Any]] = [(kind, parameters)]
    for _, value in parameters.ListFields():
        if isinstance(value, strategies.Strategy):
            found += with_inner(value)
    for part in getattr(parameters, "parts", ()):
        found += with_inner(part.strategy)
    return found
