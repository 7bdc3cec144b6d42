"""Rows of a benchmark: a figure each, and whether it reaches its goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def row(
    name: str, value: float, unit: str, *, least: float | None = None, most: float | None = None
) -> dict[str, Any]:
    """Return one row: a figure, and whether it reaches its goal where it has one."""
    goal, holds = None, None
    if least is not None:
        goal, holds = f">= {least}", value >= least
    if most is not None:
        goal, holds = f"<= {most}", value <= most
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "holds": holds}


def show(table: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    width = max(len(each["name"]) for each in table)
    print(f"{'':{width}} {'value':>12} {'unit':5} {'goal':>10} holds")
    for each in table:
        verdict = "" if each["holds"] is None else "yes" if each["holds"] else "NO"
        print(
            f"{each['name']:{width}} {each['value']:>12,.3f} {each['unit']:5} "
            f"{each['goal'] or '':>10} {verdict}"
        )
