"""`report.json`: the findings as plain data, undefined numbers as null with their reason."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any


def to_json(findings: Any) -> str:
    """Return a dataclass of findings as indented JSON.

    NaN becomes null; its reason stands beside it.
    """
    return json.dumps(_plain(dataclasses.asdict(findings)), indent=2, allow_nan=False) + "\n"


def key_paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key of a JSON value; `[]` stands for every list element."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from key_paths(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from key_paths(inner, f"{prefix}[]")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
