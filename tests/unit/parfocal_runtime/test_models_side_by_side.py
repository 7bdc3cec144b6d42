from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_graphs import base_model, base_model_card, encoder, graph, sum_and_product
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.cards import CardFields, encoder_card
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.row_runs import run_rows
from parfocal_runtime.models.sessions import ModelSession, SessionOptions, open_session
from parfocal_runtime.models.side_by_side import SideBySide
from parfocal_runtime.store import LocalStore
from watched_session import WatchedSession

SECONDS = 30


def pair(rows: int) -> dict[str, Array]:
    numbers = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return {"a": numbers, "b": numbers + 1}


def watched(graph: bytes | None = None) -> WatchedSession:
    return WatchedSession(open_session(graph or sum_and_product()))


@pytest.mark.parametrize(
    ("rows", "at_once", "most", "shares"),
    [
        (8, 3, None, [2, 3, 3]),
        (7, 2, None, [3, 4]),
        (8, 2, 3, [2, 3, 3]),
        (3, 3, 5, [1, 1, 1]),
    ],
)
def test_rows_are_shared_out_and_come_back_in_order(
    rows: int, at_once: int, most: int | None, shares: list[int]
) -> None:
    session, single, whole = watched(), watched(), pair(rows)
    session.side_by_side = SideBySide(single, at_once, rows=most)

    found = run_rows(session, whole, ["product", "sum"])

    assert (session.rows, sorted(single.rows)) == ([], shares)
    assert list(found) == ["product", "sum"]
    np.testing.assert_array_equal(found["product"], whole["a"] * whole["b"])


def test_fewer_rows_than_threads_are_one_run_of_all_threads() -> None:
    session, single = watched(), watched()
    session.side_by_side = SideBySide(single, 3)

    run_rows(session, pair(2))

    assert (session.rows, single.rows) == ([2], [])


def test_where_no_run_has_all_threads_two_rows_are_shared_out_too() -> None:
    session = watched()
    session.side_by_side = SideBySide(session, 3)

    run_rows(session, pair(2))
    run_rows(session, pair(1))

    assert session.rows == [1, 1, 1]


def test_a_graph_that_loses_rows_is_not_shared_out_again() -> None:
    kept = graph(
        [helper.make_node("Compress", ["x", "keep"], ["y"], axis=0)],
        inputs=[("x", TensorProto.FLOAT, ("n", 1)), ("keep", TensorProto.BOOL, ("n",))],
        outputs=[("y", TensorProto.FLOAT, ("m", 1))],
    )
    session, single = watched(kept), watched(kept)
    session.side_by_side = SideBySide(single, 2)
    feed = {"x": np.arange(4, dtype=np.float32)[:, None], "keep": np.array([True, False] * 2)}

    for _ in range(2):
        assert run_rows(session, feed)["y"].ravel().tolist() == [0, 2]

    assert (session.rows, single.rows) == ([4, 4], [2, 2])


class Meeting(ModelSession):
    """Runs that wait until so many of them are there, and count how many there are at most."""

    def __init__(self, parties: int) -> None:
        self.most = 0
        self._there = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(parties)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        with self._lock:
            self._there += 1
            self.most = max(self.most, self._there)
        self._barrier.wait(SECONDS)
        with self._lock:
            self._there -= 1
        return {"y": inputs["x"]}


def test_as_many_runs_as_threads_are_made_at_a_time_whoever_asks() -> None:
    session = Meeting(3)
    beside = SideBySide(session, 3)

    with ThreadPoolExecutor(6) as callers:
        answers = [callers.submit(beside.run, {"x": np.array([at])}) for at in range(6)]
        found = [int(answer.result(SECONDS)["y"][0]) for answer in answers]

    assert found == list(range(6))
    assert session.most == 3


class FailingFirst(ModelSession):
    """Fails at the first run; the second one lasts until it is let go."""

    def __init__(self) -> None:
        self.runs = 0
        self.let_go = threading.Event()

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        self.runs += 1
        if self.runs == 1:
            raise InvalidInput("ERROR_REASON_INVALID_FIELD", "no such rows")
        assert self.let_go.wait(SECONDS)
        return dict(inputs)


def test_after_a_run_that_failed_those_that_wait_are_not_made() -> None:
    session = FailingFirst()
    beside = SideBySide(session, 1)

    with pytest.raises(InvalidInput, match="no such rows"):
        beside.run_all([pair(1)] * 5)
    session.let_go.set()
    beside.run(pair(1))

    assert session.runs <= 3


def encoder_of_pixels() -> CardFields:
    patch = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    vector = patch.reshape(1, 16).astype(np.float32)
    return encoder_card("Pixels.", "image", test_input=patch, test_output=vector)


@pytest.fixture
def models_with(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    repository = ModelRepository(store)
    repository.publish("base", base_model(), card=base_model_card(), lineage={})
    repository.publish("encoder", encoder(16), card=encoder_of_pixels(), lineage={})
    (tmp_path / "other.onnx").write_bytes(sum_and_product())
    publish_file(store, "other", tmp_path / "other.onnx")
    return store


def test_base_models_and_encoders_run_side_by_side_on_several_threads(
    models_with: LocalStore,
) -> None:
    models = LoadedModels(ModelRepository(models_with), options=SessionOptions(threads=3))

    base, encoder = models.get("base").session, models.get("encoder").session

    assert base.side_by_side is not None
    assert base.side_by_side.at_once == 3
    assert base.side_by_side.session is not base
    assert encoder.side_by_side is not None
    assert encoder.side_by_side.at_once == 3
    assert encoder.side_by_side.session is encoder
    assert models.get("other").session.side_by_side is None


def test_one_thread_runs_nothing_side_by_side(models_with: LocalStore) -> None:
    models = LoadedModels(ModelRepository(models_with), options=SessionOptions(threads=1))

    assert models.get("base").session.side_by_side is None
    assert models.get("encoder").session.side_by_side is None


def test_a_session_of_one_thread_counts_in_the_memory_of_a_model(models_with: LocalStore) -> None:
    def taken(name: str, threads: int) -> tuple[int, int]:
        options = SessionOptions(threads=threads)
        footprint = LoadedModels(ModelRepository(models_with), options=options).get(name).footprint
        return footprint.weights, footprint.activations // footprint.row

    weights, rows = taken("base", 1)
    assert taken("base", 3) == (2 * weights, rows + 3)
    weights, rows = taken("encoder", 1)
    assert taken("encoder", 3) == (weights, rows + 3)
