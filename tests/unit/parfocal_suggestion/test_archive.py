"""Selections in a real object store on disk: written once, replayed, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parfocal_runtime.errors import AlreadyExists, Cancelled, NotFound
from parfocal_runtime.layout import selection_table
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import create_table, read_table, table_bytes
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.archive import RECORD, Stored, load
from parfocal_suggestion.explain import explain
from parfocal_suggestion.making import make_selection
from parfocal_suggestion.order import Measure, Order, Stream
from parfocal_suggestion.random_share import RandomWeights
from parfocal_suggestion.replay import replay
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.two_stream import TwoStream

NOW = datetime(2030, 1, 2, tzinfo=UTC)
POINTS = np.random.default_rng(0).normal(size=(2, 30, 3)).astype(np.float32)
ORDER = Order(
    project="demo",
    selection="first",
    strategy=TwoStream(),
    budget=6,
    seed=11,
    random_share=0.2,
    streams=(Stream("mask", inline=POINTS[0]), Stream("image", inline=POINTS[1], encoder="e-1")),
    probabilities=np.linspace(0, 1, 30, dtype=np.float32),
    labelled=np.array([5, 2]),
    verdicts=np.array([True, False]),
    excluded=np.array([9]),
)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


def make(store: ObjectStore, order: Order = ORDER) -> Stored:
    return make_selection(store, order, now=NOW, cancel=CancelFlag())


def rewrite(store: ObjectStore, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the stored record as an older release or another machine would have written it."""
    path = selection_table("demo", "first")
    table = read_table(store, path)
    record = json.loads(table.schema.metadata[RECORD])
    change(record)
    store.delete(path)
    create_table(store, path, table.replace_schema_metadata({RECORD: json.dumps(record)}))


def test_what_is_kept_is_what_is_loaded(store: ObjectStore) -> None:
    made = make(store)

    loaded = load(store, "demo", "first")

    assert loaded.record == made.record
    assert table_bytes(loaded.picks) == table_bytes(made.picks)
    assert made.record.create_time == "2030-01-02T00:00:00+00:00"
    assert made.record.pool == 27


def test_a_writer_that_died_before_the_table_leaves_nothing_in_the_way(store: ObjectStore) -> None:
    first = make(store)
    store.delete(selection_table("demo", "first"))

    other = make(store, replace(ORDER, strategy=TwoStream(first_clusters=3)))

    assert other.record.parameters["first_clusters"] == 3
    assert other.record.cells != first.record.cells


def test_the_order_of_labels_is_no_difference(store: ObjectStore) -> None:
    first = make(store)

    again = make(store, replace(ORDER, labelled=np.array([2, 5]), verdicts=np.array([False, True])))

    assert table_bytes(again.picks) == table_bytes(first.picks)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 12},
        {"budget": 7},
        {"random_share": 0.3},
        {"strategy": TwoStream(queries_per_cell=5)},
        {"strategy": Entropy()},
        {"verdicts": np.array([True, True])},
        {"excluded": np.array([8])},
        {"probabilities": np.zeros(30, np.float32)},
        {"streams": (Stream("mask", inline=POINTS[1]), Stream("image", inline=POINTS[0]))},
        {"model": "base-1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_else_under_the_same_name_is_refused(
    store: ObjectStore, change: dict[str, Any]
) -> None:
    make(store)

    with pytest.raises(AlreadyExists) as caught:
        make(store, replace(ORDER, **change))

    assert caught.value.metadata["name"] == "projects/demo/selections/first"


def test_a_replay_is_identical(store: ObjectStore) -> None:
    made = make(store)

    again = replay(store, "demo", "first", cancel=CancelFlag())

    assert again.identical
    assert again.candidates.tolist() == made.picks.column("candidate").to_pylist()


def test_other_libraries_with_the_same_picks_are_no_difference(store: ObjectStore) -> None:
    make(store)
    rewrite(store, lambda record: record["environment"].update(numpy="1.0"))

    assert replay(store, "demo", "first", cancel=CancelFlag()).identical


def test_a_selection_from_before_a_parameter_is_the_same_wish_and_replays(
    store: ObjectStore,
) -> None:
    first = make(store)

    def older(record: dict[str, Any]) -> None:
        for parameters in (record["requested"], record["parameters"]):
            parameters.pop("avoid_overrepresented")
        for key in ("predictions", "views", "measures"):
            record.pop(key)

    rewrite(store, older)

    assert table_bytes(make(store).picks.replace_schema_metadata()) == table_bytes(
        first.picks.replace_schema_metadata()
    )
    assert replay(store, "demo", "first", cancel=CancelFlag()).identical


def test_keys_of_later_releases_are_passed_over(store: ObjectStore) -> None:
    make(store)
    rewrite(store, lambda record: record.update(invented_later=1))

    assert load(store, "demo", "first").record.seed == 11


def test_a_replay_names_versions_libraries_and_inputs_that_changed(store: ObjectStore) -> None:
    make(store)

    def older(record: dict[str, Any]) -> None:
        record.update(seed=99, version="0")
        record["environment"].update({"scikit-learn": "0.1"})
        record["inputs"].pop("probabilities")

    rewrite(store, older)

    again = replay(store, "demo", "first", cancel=CancelFlag())

    text = "\n".join(again.differences)
    assert not again.identical
    assert "picks are chosen again, or their order changed" in text
    assert "strategy two-stream was version 0, now 3" in text
    assert "environment scikit-learn was 0.1" in text
    assert "input probabilities was absent" in text
    assert "input candidates" not in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"strategy": "gone"}, "no strategy 'gone'"),
        ({"parameters": {"gone": 1}}, "does not have the parameters"),
        ({"cells": "projects/demo/selections/none.parquet"}, "cannot be made now"),
    ],
    ids=["strategy", "parameters", "cells"],
)
def test_what_cannot_be_replayed_says_why(
    store: ObjectStore, change: dict[str, Any], text: str
) -> None:
    make(store)
    rewrite(store, lambda record: record.update(change))

    again = replay(store, "demo", "first", cancel=CancelFlag())

    assert not again.identical
    assert text in again.differences[0]
    assert again.candidates.tolist() == []


def test_a_caller_who_left_gets_nothing_kept(store: ObjectStore) -> None:
    flag = CancelFlag()
    flag.set()

    with pytest.raises(Cancelled):
        make_selection(store, ORDER, now=NOW, cancel=flag)

    assert list(store.list()) == []


def test_a_file_without_a_record_is_no_selection(store: ObjectStore) -> None:
    made = make(store)
    name = made.record.cells.removeprefix("projects/demo/selections/").removesuffix(".parquet")

    with pytest.raises(NotFound):
        load(store, "demo", name)


def test_entropy_explains_by_score_and_the_unchosen_by_who_came_before(
    store: ObjectStore,
) -> None:
    make(store, replace(ORDER, strategy=Entropy(), random_share=0))

    best, other = explain(store, "demo", "first", np.array([14, 0]))

    assert best.chosen
    assert best.text.startswith("Rank 0 by largest entropy")
    assert not other.chosen
    assert "6 others came before it" in other.text


def test_random_picks_explain_themselves(store: ObjectStore) -> None:
    make(store)

    texts = [each.text for each in explain(store, "demo", "first", np.empty(0, np.int64))]

    assert sum(text.startswith("Drawn at random before two-stream chose") for text in texts) == 1


def test_a_share_by_foreground_is_kept_replayed_and_part_of_the_wish(store: ObjectStore) -> None:
    measures = (Measure("foreground", inline=np.linspace(0, 1, 30, dtype=np.float32)),)
    order = replace(ORDER, measures=measures, random_weights=RandomWeights("foreground", 0.7))
    stored = make(store, order)

    again = replay(store, "demo", "first", cancel=CancelFlag())

    assert stored.record.random_weights == {"measure": "foreground", "strength": 0.7}
    assert again.identical
    chances = stored.picks.column("inclusion_probability").to_numpy()
    assert int(np.isfinite(chances).sum()) == 1
    with pytest.raises(AlreadyExists):
        make(store, replace(order, random_weights=None))
