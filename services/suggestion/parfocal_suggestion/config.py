"""Settings of the suggestion service."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import MEBIBYTE, ServerConfig, bounded

PREFIX = "PARFOCAL_SUGGESTION"


@dataclass(frozen=True, kw_only=True)
class SuggestionConfig(ServerConfig):
    """What the suggestion service needs to know; the rest is what every service needs."""

    memory_bytes: int = bounded(640 * MEBIBYTE, least=0)
    """Bytes of feature arrays that are kept from one selection to the next; 0 keeps none."""
