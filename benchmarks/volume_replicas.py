"""Whether a map is the same whoever makes it: many replicas, one that is killed, other blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def sameness(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Return whether maps that were made in several ways are equal to the last bit."""
    return []
