"""Strategies as messages and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies import strategy_of

MOST_STARTS = 100


def strategy_from_pb(message: pb.Strategy) -> Strategy:
    """Read a strategy; what is not set keeps the strategy's own default.

    Raises:
        InvalidInput: If none is set (`ERROR_REASON_UNKNOWN_STRATEGY`) or a number is out of range.
    """
    kind = message.WhichOneof("strategy")
    if kind is None:
        return strategy_of("", {})
    given = {field.name: value for field, value in getattr(message, kind).ListFields()}
    for name, value in given.items():
        _check_number(f"strategy.{kind}.{name}", value, most=MOST_STARTS if name == "starts" else 0)
    return strategy_of(kind.replace("_", "-"), given)


def strategy_to_pb(name: str, parameters: Mapping[str, Any]) -> pb.Strategy:
    """Write a strategy from its stored name and parameters, which are named as its fields."""
    message = pb.Strategy()
    field = getattr(message, name.replace("-", "_"))
    # Also where nothing is set in it.
    field.SetInParent()
    for parameter, value in parameters.items():
        setattr(field, parameter, value)
    return message


def descriptions_to_pb(strategies: Mapping[str, type[Strategy]]) -> list[pb.StrategyDescription]:
    """Describe strategies, by name."""
    return [
        pb.StrategyDescription(
            name=name,
            description=strategy.summary,
            reference=strategy.reference,
            version=strategy.version,
            needs_features=strategy.needs_features,
            needs_probabilities=strategy.needs_probabilities,
            score=strategy.score,
        )
        for name, strategy in sorted(strategies.items())
    ]


def _check_number(field: str, value: object, *, most: int) -> None:
    if not isinstance(value, int) or (value >= 0 and (not most or value <= most)):
        return
    limits = f"0 to {most}" if most else "0 or more"
    raise InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"{field} must be {limits}, got {value}",
        field=field,
        value=value,
    )
