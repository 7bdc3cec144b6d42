"""Strategies as messages and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.nesting import Weighted
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies import strategy_of

MOST_STARTS = 100
MOST_WEIGHT = 1_000_000
MOST_INSIDE = 16
"""Strategies inside of one, at any depth."""
MOST_DEEP = 4
"""Levels of strategies, the outermost counted."""


def strategy_from_pb(message: pb.Strategy) -> Strategy:
    """Read a strategy; what is not set keeps the strategy's own default.

    Raises:
        InvalidInput: If none is set (`ERROR_REASON_UNKNOWN_STRATEGY`), a number is out of range, or
            too many strategies are inside of each other.
    """
    _check_nesting(message)
    return _strategy_from_pb(message)


def _strategy_from_pb(message: pb.Strategy) -> Strategy:
    kind = message.WhichOneof("strategy")
    if kind is None:
        return strategy_of("", {})
    given = {
        field.name: _value_from_pb(field, value, f"strategy.{kind}.{field.name}")
        for field, value in getattr(message, kind).ListFields()
    }
    return strategy_of(kind.replace("_", "-"), given)


def strategy_to_pb(name: str, parameters: Mapping[str, Any]) -> pb.Strategy:
    """Write a strategy from its stored name and parameters, which are named as its fields."""
    message = pb.Strategy()
    field = getattr(message, name.replace("-", "_"))
    # Also where nothing is set in it.
    field.SetInParent()
    fields = field.DESCRIPTOR.fields_by_name
    for parameter, value in parameters.items():
        if isinstance(value, Mapping):
            getattr(field, parameter).CopyFrom(_inner_to_pb(value))
        elif isinstance(value, list):
            getattr(field, parameter).extend(_weighted_to_pb(each) for each in value)
        else:
            setattr(field, parameter, _value_to_pb(fields[parameter], value))
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
            needs_predictions=strategy.needs_predictions,
            needs_measure=strategy.needs_measure,
        )
        for name, strategy in sorted(strategies.items())
    ]


def _value_from_pb(field: FieldDescriptor, value: Any, path: str) -> Any:
    if field.enum_type is not None:
        return _word(field.enum_type, value, path)
    if isinstance(value, pb.Strategy):
        return _strategy_from_pb(value)
    if field.message_type is not None:
        return tuple(_weighted_from_pb(each, path) for each in value)
    _check_number(path, value, most=MOST_STARTS if field.name == "starts" else 0)
    return value


def _value_to_pb(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is None:
        return value
    words = _words(field.enum_type)
    return next((number for number, word in words.items() if word == value), 0)


def _words(enum: EnumDescriptor) -> dict[int, str]:
    """The values of an enum as they are stored: without the enum's name, in lower case."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values[1:]}


def _word(enum: EnumDescriptor, number: int, path: str) -> str:
    words = _words(enum)
    if number not in words:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{path} must be one of {', '.join(words.values())}, got {number}",
            field=path,
            value=number,
        )
    return words[number]


def _weighted_from_pb(message: pb.WeightedStrategy, path: str) -> Weighted:
    _check_number(f"{path}.weight", message.weight, most=MOST_WEIGHT)
    return Weighted(_strategy_from_pb(message.strategy), message.weight or 1.0)


def _weighted_to_pb(stored: Mapping[str, Any]) -> pb.WeightedStrategy:
    return pb.WeightedStrategy(strategy=_inner_to_pb(stored), weight=stored["weight"])


def _inner_to_pb(stored: Mapping[str, Any]) -> pb.Strategy:
    return strategy_to_pb(stored["strategy"], stored["parameters"])


def _check_nesting(message: pb.Strategy) -> None:
    level, inside = [message], 0
    for _ in range(MOST_DEEP):
        level = [inner for each in level for inner in inner_messages(each)]
        inside += len(level)
    if level or inside > MOST_INSIDE:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"strategies inside of strategies may be {MOST_INSIDE} in all and {MOST_DEEP} deep",
            field="strategy",
            value=inside,
        )


def inner_messages(message: pb.Strategy) -> list[pb.Strategy]:
    """Return the strategies that one is directly made of."""
    kind = message.WhichOneof("strategy")
    if kind == "sequence":
        return [
            value for _, value in message.sequence.ListFields() if isinstance(value, pb.Strategy)
        ]
    if kind in ("product", "shares"):
        return [part.strategy for part in getattr(message, kind).parts]
    return []


def _check_number(field: str, value: object, *, most: int) -> None:
    if not isinstance(value, int | float):
        return
    if math.isfinite(value) and value >= 0 and (not most or value <= most):
        return
    limits = f"0 to {most}" if most else "0 or more"
    raise InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"{field} must be {limits}, got {value}",
        field=field,
        value=value,
    )
