"""Strategies inside of strategies: what they count for, and how they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from parfocal_suggestion.selection import Strategy


@dataclass(frozen=True)
class Weighted:
    """A strategy and what it counts for, above 0; the combinator says how."""

    strategy: Strategy
    weight: float = 1.0


def inner_strategies(strategy: Strategy) -> Iterator[Strategy]:
    """Yield the strategies inside of one, at any depth."""
    for each in fields(strategy):
        value = getattr(strategy, each.name)
        for one in value if isinstance(value, tuple) else (value,):
            part = one.strategy if isinstance(one, Weighted) else one
            if hasattr(part, "select"):
                yield part
                yield from inner_strategies(part)


def parameters_of(strategy: Strategy) -> dict[str, Any]:
    """Return the parameters of a strategy as they are stored; `strategy_of` reads them back.

    A strategy inside is an object of `strategy` (its name), `parameters` and, where it has one,
    `weight`; several are a list.
    """
    return {each.name: _stored(getattr(strategy, each.name)) for each in fields(strategy)}


def part_names(strategies: Sequence[Strategy]) -> list[str]:
    """Return a key for each: its name, and a number where it is not the first of its name."""
    names = [strategy.name.replace("-", "_") for strategy in strategies]
    before = [names[:at].count(name) for at, name in enumerate(names)]
    return [f"{name}_{at + 1}" if at else name for name, at in zip(names, before, strict=True)]


def _stored(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_stored(each) for each in value]
    if isinstance(value, Weighted):
        return {**_stored(value.strategy), "weight": value.weight}
    if hasattr(value, "select"):
        return {"strategy": value.name, "parameters": parameters_of(value)}
    return value
