"""Strategies by name."""

from __future__ import annotations

from parfocal._errors import InvalidRequestError
from parfocal.suggestion.v1.strategy_pb2 import Strategy

STRATEGIES = tuple(field.name.replace("_", "-") for field in Strategy.DESCRIPTOR.fields)
"""Names of the strategies; docs/strategies.md says what each does and needs."""


def strategy_to_pb(strategy: str | Strategy) -> Strategy:
    """Return the message of a strategy by name, with its defaults; a message stays as it is.

    Raises:
        InvalidRequestError: If there is none of that name (`ERROR_REASON_UNKNOWN_STRATEGY`).
    """
    if isinstance(strategy, Strategy):
        return strategy
    if strategy not in STRATEGIES:
        raise InvalidRequestError(
            f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}",
            reason="ERROR_REASON_UNKNOWN_STRATEGY",
            metadata={"field": "strategy", "known": ", ".join(STRATEGIES)},
        )
    message = Strategy()
    getattr(message, strategy.replace("-", "_")).SetInParent()
    return message
