"""What a package says of where it comes from, for the lineage of its version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def origin_of(described: Any, written: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, id, version and citations, as JSON holds them; what is not said is left out.

    Args:
        described: A model description of bioimageio.spec, 0.4 or 0.5.
        written: The YAML that it was made of; the library forgets its version.
    """
    said = {
        "name": str(described.name),
        "id": described.id,
        "version": described.version,
        "format_version": written["format_version"],
        "documentation": getattr(described.documentation, "source", described.documentation),
    }
    citations = [
        " ".join(str(part) for part in (entry.text, entry.doi or entry.url) if part)
        for entry in described.cite
    ]
    found: dict[str, Any] = {key: str(value) for key, value in said.items() if value is not None}
    return {**found, "cite": citations} if citations else found
