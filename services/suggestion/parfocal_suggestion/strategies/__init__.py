"""Every strategy, one module each, by the name under which it is asked for."""

from __future__ import annotations

from parfocal_suggestion.strategies.catalogue import STRATEGIES, strategy_of

__all__ = ["STRATEGIES", "strategy_of"]
