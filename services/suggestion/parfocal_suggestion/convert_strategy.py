"""Strategies as messages and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies import strategy_of

MOST_STARTS = 100

# Name in the message -> name of the parameter, for each field of the oneof.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "random": {},
    "core_set": {"stream": "stream"},
    "entropy": {},
    "late_fusion": {
        "first_stream": "first",
        "second_stream": "second",
        "queries_per_cell": "queries",
        "raw_scale": "raw",
        "cells": "cells",
        "starts": "n_init",
    },
    "two_stream": {
        "first_stream": "first",
        "second_stream": "second",
        "first_clusters": "clusters",
        "second_clusters": "cells_per_cluster",
        "queries_per_cell": "queries",
        "starts": "n_init",
    },
}
_MESSAGES: Mapping[str, Callable[..., Any]] = {
    "random": pb.RandomStrategy,
    "core_set": pb.CoreSetStrategy,
    "entropy": pb.EntropyStrategy,
    "late_fusion": pb.LateFusionStrategy,
    "two_stream": pb.TwoStreamStrategy,
}


def strategy_from_pb(message: pb.Strategy) -> Strategy:
    """Read a strategy; what is not set keeps the strategy's own default.

    Raises:
        InvalidInput: If none is set (`ERROR_REASON_UNKNOWN_STRATEGY`) or a number is out of range.
    """
    kind = message.WhichOneof("strategy")
    if kind is None:
        return strategy_of("", {})
    given = getattr(message, kind)
    values = {name: getattr(given, name) for name in _FIELDS[kind]}
    for name, value in values.items():
        _check_number(f"strategy.{kind}.{name}", value, most=MOST_STARTS if name == "starts" else 0)
    return strategy_of(_dashed(kind), {_FIELDS[kind][k]: v for k, v in values.items() if v})


def strategy_to_pb(name: str, parameters: Mapping[str, Any]) -> pb.Strategy:
    """Write a strategy from its stored name and parameters."""
    kind = name.replace("-", "_")
    values = {field: parameters[parameter] for field, parameter in _FIELDS[kind].items()}
    return pb.Strategy(**{kind: _MESSAGES[kind](**values)})


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


def _dashed(kind: str) -> str:
    return kind.replace("_", "-")


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
