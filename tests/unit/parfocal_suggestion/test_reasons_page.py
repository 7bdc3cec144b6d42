from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from parfocal_suggestion.reasons import reasons
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.suggest import suggest
from suggestion_pools import pool_of

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"
LISTED = set(re.findall(r"^\| `(\w+)` \| (?:text|number|object) ", PAGE.read_text(), re.MULTILINE))
ALWAYS = {"strategy", "version", "seed", "encoders", "model", "role", "confidence"}
CELLS = {"cluster", "cluster_size", "cell", "cell_size", "distance"}


@pytest.mark.parametrize("strategy", [make() for make in STRATEGIES.values()], ids=list(STRATEGIES))
def test_a_pick_of_any_strategy_says_all_that_is_known_of_it(strategy: Strategy) -> None:
    pool = pool_of(range(60), labelled=(3, 4))
    found = suggest(pool, strategy, 12, seed=1, random_share=0.25)

    told = [
        json.loads(text) for text in reasons(pool, found, encoders={"mask": "m-1"}, model="b-1")
    ]

    chosen = [reason for reason in told if reason["role"] == "strategy"]
    assert len(chosen) == 9
    for reason in told:
        assert set(reason) >= ALWAYS
        assert set(reason) <= LISTED
        assert (reason["strategy"], reason["version"]) == (strategy.name, strategy.version)
        assert ("nearest_labelled" in reason) == (found.strategy.space(pool) is not None)
    for reason in chosen:
        assert ("score" in reason) == bool(strategy.score)
        assert (set(reason) >= CELLS) == bool(np.any(found.selection.cells >= 0))
        assert ("chosen_by" in reason) == (strategy.name == "shares")
        if found.selection.parts:
            assert set(reason["parts"]) <= set(found.selection.parts)
