"""Settings of the suggestion service."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import ServerConfig

PREFIX = "PARFOCAL_SUGGESTION"


@dataclass(frozen=True, kw_only=True)
class SuggestionConfig(ServerConfig):
    """What the suggestion service needs to know; all of it is what every service needs."""
