"""Strategies inside of strategies, as a round names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parfocal.suggestion.v1 import strategy_pb2 as strategies

_ENTROPY = strategies.Strategy(entropy=strategies.EntropyStrategy())
_CORE_SET = strategies.Strategy(core_set=strategies.CoreSetStrategy())


def with_inner(strategy: strategies.Strategy) -> list[tuple[str, Any]]:
    """Return the kind and the parameters of a strategy and of all inside of it, the outer first.

    Where nothing is said of what is inside, it is what the contract says: entropy and core-set. A
    part without a strategy in it is passed over; the suggestion service refuses it.
    """
    kind = strategy.WhichOneof("strategy")
    if kind is None:
        return []
    found: list[tuple[str, Any]] = [(kind, getattr(strategy, kind))]
    for inner in _directly_inside(strategy, kind):
        found += with_inner(inner)
    return found


def _directly_inside(strategy: strategies.Strategy, kind: str) -> Iterator[strategies.Strategy]:
    if kind == "sequence":
        sequence = strategy.sequence
        yield sequence.shortlist if sequence.HasField("shortlist") else _ENTROPY
        yield sequence.choice if sequence.HasField("choice") else _CORE_SET
    elif kind in ("product", "shares"):
        parts = getattr(strategy, kind).parts
        yield from (part.strategy for part in parts)
        if not parts:
            yield from (_ENTROPY, _CORE_SET)
