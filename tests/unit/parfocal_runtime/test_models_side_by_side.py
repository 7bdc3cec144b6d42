from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_graphs import base_model, base_model_card, encoder, graph, sum_and_product
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.models import loading
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


def watched(graph: bytes | None = None, *, rows_at_once: int | None = None) -> WatchedSession:
    return WatchedSession(open_session(graph or sum_and_product()), rows_at_once=rows_at_once)


@pytest.mark.parametrize(
    ("rows", "at_once", "most", "shares"),
    [
        (8, 3, None, [2, 3, 3]),
        (7, 2, None, [3, 4]),
        (8, 2, 3, [2, 3, 3]),
        (3, 3, 5, [1, 1, 1]),
        (2, 3, None, [1, 1]),
        (1, 3, None, [1]),
        (0, 3, None, [0]),
    ],
)
def test_rows_are_shared_out_and_come_back_in_order(
    rows: int, at_once: int, most: int | None, shares: list[int]
) -> None:
    session, whole = watched(rows_at_once=most), pair(rows)
    session.side_by_side = SideBySide(at_once)

    found = run_rows(session, whole, ["product", "sum"])

    assert sorted(session.rows) == shares
    assert list(found) == ["product", "sum"]
    np.testing.assert_array_equal(found["product"], whole["a"] * whole["b"])


def test_a_graph_that_loses_rows_is_not_shared_out_again() -> None:
    kept = graph(
        [helper.make_node("Compress", ["x", "keep"], ["y"], axis=0)],
        inputs=[("x", TensorProto.FLOAT, ("n", 1)), ("keep", TensorProto.BOOL, ("n",))],
        outputs=[("y", TensorProto.FLOAT, ("m", 1))],
    )
    session = watched(kept)
    session.side_by_side = SideBySide(2)
    feed = {"x": np.arange(4, dtype=np.float32)[:, None], "keep": np.array([True, False] * 2)}

    for _ in range(2):
        assert run_rows(session, feed)["y"].ravel().tolist() == [0, 2]

    assert session.rows == [2, 2, 4, 4]


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
    beside = SideBySide(3)

    with ThreadPoolExecutor(6) as callers:
        answers = [callers.submit(beside.run, session, {"x": np.array([at])}) for at in range(6)]
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
    beside = SideBySide(1)

    with pytest.raises(InvalidInput, match="no such rows"):
        beside.run_all(session, [pair(1)] * 5)
    session.let_go.set()
    beside.run(session, pair(1))

    assert session.runs <= 3


def encoder_of_pixels() -> CardFields:
    patch = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    vector = patch.reshape(1, 16).astype(np.float32)
    return encoder_card("Pixels.", "image", test_input=patch, test_output=vector)


def classifier(rows: str | int = "n") -> bytes:
    """A classifier of patches 2 x 2 into four classes."""
    return graph(
        [
            helper.make_node("Flatten", ["patch"], ["flat"]),
            helper.make_node("Softmax", ["flat"], ["probability"]),
        ],
        inputs=[("patch", TensorProto.FLOAT, (rows, 1, 2, 2))],
        outputs=[("probability", TensorProto.FLOAT, (rows, 4))],
    )


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    store = LocalStore(tmp_path / "store")
    models = ModelRepository(store)
    models.publish("base", base_model(), card=base_model_card(), lineage={})
    models.publish("encoder", encoder(16), card=encoder_of_pixels(), lineage={})
    for name, model in (("classifier", classifier()), ("other", sum_and_product())):
        (tmp_path / "model.onnx").write_bytes(model)
        publish_file(store, name, tmp_path / "model.onnx")
    return models


@pytest.mark.parametrize("name", ["base", "classifier"])
def test_many_windows_and_patches_run_side_by_side_and_a_single_one_on_all_threads(
    repository: ModelRepository, name: str
) -> None:
    loaded = LoadedModels(repository, options=SessionOptions(threads=3)).get(name)

    assert loaded.bulk is not loaded.session
    assert loaded.session.side_by_side is None
    assert loaded.bulk.side_by_side is not None
    assert loaded.bulk.side_by_side.at_once == 3


def test_encoders_always_run_side_by_side(repository: ModelRepository) -> None:
    loaded = LoadedModels(repository, options=SessionOptions(threads=3)).get("encoder")

    assert loaded.bulk is loaded.session
    assert loaded.session.side_by_side is not None
    assert loaded.session.side_by_side.at_once == 3


def test_a_graph_of_a_fixed_number_of_rows_is_never_cut(
    repository: ModelRepository, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(classifier(rows=4))
    publish_file(LocalStore(tmp_path / "store"), "fixed", tmp_path / "model.onnx")

    loaded = LoadedModels(repository, options=SessionOptions(threads=2)).get("fixed")

    assert loaded.bulk is loaded.session
    patches = np.zeros((4, 1, 2, 2), np.float32)
    assert run_rows(loaded.bulk, {"patch": patches})["probability"].shape == (4, 4)


@pytest.mark.parametrize(("name", "threads"), [("other", 3), ("base", 1), ("encoder", 1)])
def test_others_and_what_has_one_thread_do_not(
    repository: ModelRepository, name: str, threads: int
) -> None:
    loaded = LoadedModels(repository, options=SessionOptions(threads=threads)).get(name)

    assert loaded.bulk is loaded.session
    assert loaded.session.side_by_side is None


def test_the_session_of_one_thread_must_reproduce_the_tests_too(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    # No graph is known whose answers depend on the number of threads.
    def noted(session: ModelSession, card: CardFields) -> str | None:
        seen.append(session)
        return None if len(seen) == 1 else "the second one is off"

    monkeypatch.setattr(loading, "disagreement", noted)

    with pytest.raises(WrongState, match="the second one is off"):
        LoadedModels(repository, options=SessionOptions(threads=3)).get("base")


@pytest.mark.parametrize("name", ["base", "encoder"])
def test_a_model_that_is_unloaded_takes_its_sessions_and_threads_along(
    repository: ModelRepository, name: str
) -> None:
    before = set(threading.enumerate())
    models = LoadedModels(repository, options=SessionOptions(threads=3))
    loaded = models.get(name)
    test = loaded.card.inputs[0].test
    run_rows(loaded.bulk, {loaded.bulk.inputs[0].name: np.concatenate([test] * 4)})
    sessions = {weakref.ref(each) for each in (loaded.session, loaded.bulk)}
    threads = set(threading.enumerate()) - before

    # A service looks for cycles hardly ever.
    gc.disable()
    try:
        models.unload(name)
        del loaded
        for thread in threads:
            thread.join(SECONDS)
    finally:
        gc.enable()

    assert threads
    assert not any(thread.is_alive() for thread in threads)
    assert not any(each() for each in sessions)


def test_a_session_of_one_thread_counts_in_the_memory_of_a_model(
    repository: ModelRepository,
) -> None:
    def taken(name: str, threads: int) -> tuple[int, int]:
        options = SessionOptions(threads=threads)
        footprint = LoadedModels(repository, options=options).get(name).footprint
        return footprint.weights, footprint.activations // footprint.row

    weights, rows = taken("base", 1)
    assert taken("base", 3) == (2 * weights, rows + 3)
    weights, rows = taken("encoder", 1)
    assert taken("encoder", 3) == (weights, rows + 3)
