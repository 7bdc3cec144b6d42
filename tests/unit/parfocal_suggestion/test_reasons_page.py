from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from parfocal_suggestion.pool import Pool
from parfocal_suggestion.reasons import reasons
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.suggest import suggest

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_the_page_lists_every_key_of_a_reason() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    pool = Pool.of(
        range(20),
        streams={"mask": points, "image": points},
        probabilities=np.full(20, 0.5),
        labelled=[3],
        verdicts=[True],
    )
    found = suggest(pool, TwoStream(), 3, seed=1)

    reason = json.loads(reasons(pool, found, encoders={"mask": "m-1"}, model="b-1")[0])

    listed = re.findall(r"^\| `(\w+)` \| (?:text|number|object) ", PAGE.read_text(), re.MULTILINE)
    assert set(reason) <= set(listed)
