from __future__ import annotations

import re
from pathlib import Path

import pytest

from parfocal_suggestion.strategies import STRATEGIES
from suggestion_pools import pool_of

PAGE = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Rows of the first table below the first-level `heading`, without its head."""
    section = PAGE.split(f"{heading}\n", 1)[1]
    rows = re.findall(r"^\|(.+)\|$", section.split("\n\n#")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_the_page_lists_every_strategy_by_name() -> None:
    listed = [row[0].strip("` ") for row in table("# Strategies")]

    assert listed == sorted(STRATEGIES)


@pytest.mark.parametrize("row", table("# Strategies"), ids=lambda row: row[0])
def test_the_page_says_what_the_catalogue_says(row: list[str]) -> None:
    strategy = STRATEGIES[row[0].strip("` ")]

    needs = row[2]
    assert row[3] == strategy.reference
    assert ("stream" in needs or "features" in needs) == strategy.needs_features
    assert ("probabilities" in needs) == strategy.needs_probabilities
    assert ("predictions" in needs) == strategy.needs_predictions
    assert ("measure" in needs) == strategy.needs_measure


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_page_lists_every_part_of_a_score(name: str) -> None:
    selection = STRATEGIES[name]().select(pool_of(range(40)), 8, seed=0)

    listed = {
        part
        for row in table("## Parts of scores")
        if name in re.findall(r"`([\w-]+)`", row[0])
        for part in re.findall(r"`(\w+)`", row[1])
    }
    assert listed == set(selection.parts)
    assert all(part.shape == selection.scores.shape for part in selection.parts.values())
