"""Make the selections that later releases must make again.

`python make_stored.py FOLDER [NAME ...]`. Run it with the release that they are to stand for, and
keep what it made under that release's name.

Features are small whole numbers around 0, so that no processor rounds their sums.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from parfocal_runtime.store import open_store
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.constraints import ClassQuota, Constraints
from parfocal_suggestion.making import make_selection
from parfocal_suggestion.order import Order, Stream
from parfocal_suggestion.strategies import strategy_of

HALF = np.random.default_rng(0).integers(-9, 10, (30, 4)).astype(np.float32)
ORDER = Order(
    project="stored",
    selection="random",
    strategy=strategy_of("random", {}),
    budget=12,
    seed=7,
    random_share=0.25,
    streams=(Stream("image", inline=np.concatenate([HALF, -HALF]), encoder="encoder-1"),),
    probabilities=np.linspace(0.02, 0.97, 60, dtype=np.float32),
    labelled=np.array([3, 10, 20, 41]),
    verdicts=np.array([True, False, True, True]),
    excluded=np.array([50]),
    model="base-1",
)
LIMITS = Constraints(
    quotas=(ClassQuota(0, 3), ClassQuota(1, share=0.5)), minutes=2, seconds_per_item=15
)
ORDERS = {
    "random": ORDER,
    **{
        name: replace(ORDER, selection=name, strategy=strategy_of(name, {}))
        for name in ("core-set", "entropy", "sequence", "shares")
    },
    "limited": replace(
        ORDER, selection="limited", strategy=strategy_of("entropy", {}), constraints=LIMITS
    ),
}


def main(folder: Path, names: Sequence[str]) -> None:
    """Write the selections of these names, or all, into an object store in `folder`."""
    store = open_store(folder.resolve().as_uri())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for name in names or ORDERS:
        make_selection(store, ORDERS[name], now=now, cancel=CancelFlag())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
