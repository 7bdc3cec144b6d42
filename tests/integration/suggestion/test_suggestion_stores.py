"""Selections on each kind of object store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from parfocal_runtime.errors import AlreadyExists
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.making import make_selection
from parfocal_suggestion.order import Order, Stream
from parfocal_suggestion.replay import replay
from parfocal_suggestion.strategies.two_stream import TwoStream


def test_a_selection_is_kept_once_and_replays(
    object_store: ObjectStore, fill: Callable[[ObjectStore], ObjectStore]
) -> None:
    store, now = fill(object_store), datetime(2030, 1, 1, tzinfo=UTC)
    order = Order(
        project="demo",
        selection="first",
        strategy=TwoStream(),
        budget=9,
        seed=1,
        candidates="projects/demo/candidates/first",
        streams=tuple(
            Stream(name, array=f"projects/demo/embeddings/first/{name}-1.zarr")
            for name in ("mask", "image")
        ),
    )

    made = make_selection(store, order, now=now, cancel=CancelFlag())
    again = make_selection(store, order, now=now, cancel=CancelFlag())

    assert again.record == made.record
    assert replay(store, "demo", "first", cancel=CancelFlag()).identical
    with pytest.raises(AlreadyExists):
        make_selection(store, replace(order, seed=2), now=now, cancel=CancelFlag())
