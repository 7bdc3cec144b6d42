"""Strategies as messages and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

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
