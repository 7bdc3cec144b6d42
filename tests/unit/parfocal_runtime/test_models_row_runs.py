from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, longest_of_a_run, sum_and_product
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.row_runs import CACHE_BYTES, rows_in_cache, run_rows
from parfocal_runtime.models.sessions import SessionOptions, open_session
from parfocal_runtime.store import LocalStore
from watched_session import WatchedSession


def pair(rows: int) -> dict[str, Array]:
    numbers = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return {"a": numbers, "b": numbers + 1}


@pytest.mark.parametrize(
    ("rows", "most", "runs"),
    [
        (7, 3, [3, 3, 1]),
        (6, 3, [3, 3]),
        (3, 3, [3]),
        (2, 3, [2]),
        (0, 3, [0]),
        (5, 1, [1, 1, 1, 1, 1]),
        (9, None, [9]),
    ],
)
def test_rows_run_a_few_at_a_time_and_come_back_in_order(
    rows: int, most: int | None, runs: list[int]
) -> None:
    session, whole = WatchedSession(open_session(sum_and_product()), rows_at_once=most), pair(rows)

    found = run_rows(session, whole, ["product", "sum"])

    assert session.rows == runs
    assert list(found) == ["product", "sum"]
    np.testing.assert_array_equal(found["product"], whole["a"] * whole["b"])
    np.testing.assert_array_equal(found["sum"], whole["a"] + whole["b"])


def test_inputs_are_not_copied() -> None:
    session, whole = WatchedSession(open_session(sum_and_product()), rows_at_once=2), pair(5)

    run_rows(session, whole)

    assert all(np.shares_memory(part["a"], whole["a"]) for part, _ in session.seen)


def test_a_graph_that_loses_rows_runs_on_all_of_them_and_is_not_cut_again() -> None:
    kept = graph(
        [helper.make_node("Compress", ["x", "keep"], ["y"], axis=0)],
        inputs=[("x", TensorProto.FLOAT, ("n", 1)), ("keep", TensorProto.BOOL, ("n",))],
        outputs=[("y", TensorProto.FLOAT, ("m", 1))],
    )
    session = WatchedSession(open_session(kept), rows_at_once=2)
    feed = {
        "x": np.arange(5, dtype=np.float32)[:, None],
        "keep": np.array([True, True, False, True, True]),
    }

    for _ in range(2):
        assert run_rows(session, feed)["y"].ravel().tolist() == [0, 1, 3, 4]

    assert session.rows == [2, 2, 1, 5, 5]


def test_a_graph_whose_rows_are_as_long_as_the_longest_of_a_run_is_not_cut_again() -> None:
    session = WatchedSession(open_session(longest_of_a_run()), rows_at_once=2)
    feed = {"x": np.ones((3, 8), np.float32), "length": np.array([2, 3, 5])}

    for _ in range(2):
        assert run_rows(session, feed)["y"].shape == (3, 5)

    assert session.rows == [2, 1, 3, 3]


def test_inputs_of_different_lengths_are_left_to_the_graph() -> None:
    session = WatchedSession(open_session(sum_and_product()), rows_at_once=2)

    with pytest.raises(InvalidInput, match="cannot run"):
        run_rows(session, {**pair(5), "b": pair(4)["b"]})

    assert session.rows == [5]


def test_results_of_a_run_fit_into_the_cache_or_outweigh_the_weights() -> None:
    assert rows_in_cache(CACHE_BYTES // 5, weight_bytes=0, threads=1) == 5
    assert rows_in_cache(CACHE_BYTES // 5, weight_bytes=CACHE_BYTES // 4, threads=1) == 5
    assert rows_in_cache(CACHE_BYTES // 5, weight_bytes=CACHE_BYTES // 2, threads=1) == 10
    assert rows_in_cache(10 * CACHE_BYTES, weight_bytes=0, threads=1) == 1


def test_threads_that_share_a_run_take_all_rows_unless_each_is_large() -> None:
    assert rows_in_cache(2 * CACHE_BYTES, weight_bytes=0, threads=2) is None
    assert rows_in_cache(2 * CACHE_BYTES + 1, weight_bytes=0, threads=2) == 1


def test_where_the_size_of_a_row_is_unknown_all_rows_run_at_once() -> None:
    assert rows_in_cache(0, weight_bytes=1, threads=1) is None


ONE_THREAD = """
max_batch_size: 32
dynamic_batching {}
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""


@pytest.mark.parametrize(
    ("threads", "config", "rows"), [(1, "", 4), (3, "", None), (3, ONE_THREAD, 4)]
)
def test_a_loaded_model_knows_how_many_rows_are_best_run_at_a_time(
    tmp_path: Path, threads: int, config: str, rows: int | None
) -> None:
    # Input and output of a row are 384 KiB together.
    side = 192 * 1024 // 4
    wide = graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n", side))],
        outputs=[("y", TensorProto.FLOAT, ("n", side))],
    )
    store = LocalStore(tmp_path / "store")
    (tmp_path / "wide.onnx").write_bytes(wide)
    publish_file(store, "wide", tmp_path / "wide.onnx")
    if config:
        store.write("models/wide/config.pbtxt", config.encode())

    models = LoadedModels(ModelRepository(store), options=SessionOptions(threads=threads))

    assert models.get("wide").session.rows_at_once == rows
