from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity, sum_and_product
from parfocal_runtime.models.shape_sessions import ShapeSessions


class Runs:
    """Runs of a graph with a session for each shape, on the processor: the same as on a GPU."""

    def __init__(self, model: bytes, *, most_shapes: int = 16) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1

        def opened() -> ort.InferenceSession:
            return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

        self.sessions = ShapeSessions(opened(), opened, most_shapes=most_shapes)

    def run(self, wanted: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self.sessions.run(feed, lambda session: session.run(wanted, feed))


def pair(rows: int, value: float) -> dict[str, np.ndarray]:
    return {name: np.full((rows, 2), value + i, np.float32) for i, name in enumerate("ab")}


def test_outputs_come_in_the_order_wanted() -> None:
    runs = Runs(sum_and_product())

    product, total = runs.run(["product", "sum"], pair(3, 2))

    assert total.tolist() == [[5, 5]] * 3
    assert product.tolist() == [[6, 6]] * 3
    assert runs.run(["sum"], pair(3, 2))[0].tolist() == total.tolist()


def test_what_was_given_out_is_not_touched_by_later_runs() -> None:
    runs = Runs(sum_and_product())

    first = runs.run(["sum"], pair(2, 1))[0]
    second = runs.run(["sum"], pair(2, 10))[0]
    third = runs.run(["sum"], pair(5, 20))[0]

    assert first.tolist() == [[3, 3]] * 2
    assert second.tolist() == [[21, 21]] * 2
    assert third.tolist() == [[41, 41]] * 5


def test_read_only_strided_and_single_values_are_taken() -> None:
    runs = Runs(identity())
    x = np.frombuffer(np.arange(8, dtype=np.float32).tobytes(), np.float32).reshape(4, 2)

    assert runs.run(["y"], {"x": x})[0].tolist() == x.tolist()
    assert runs.run(["y"], {"x": x[::2]})[0].tolist() == x[::2].tolist()
    single = Runs(identity(TensorProto.INT64, ()))
    assert single.run(["y"], {"x": np.array(7)})[0].tolist() == 7


def test_an_output_whose_shape_nobody_knows_before_comes_back_all_the_same() -> None:
    runs = Runs(
        graph(
            [helper.make_node("NonZero", ["x"], ["found"])],
            inputs=[("x", TensorProto.FLOAT, ("n", 2))],
            outputs=[("found", TensorProto.INT64, (2, "m"))],
        )
    )

    for hits in (1, 3):
        x = np.zeros((4, 2), np.float32)
        x[:hits, 1] = 1
        assert runs.run(["found"], {"x": x})[0].shape == (2, hits)


def test_runs_at_the_same_time_do_not_meet() -> None:
    runs = Runs(sum_and_product())

    def run(value: int) -> bool:
        found = runs.run(["sum"], pair(1 + value % 5, value))[0]
        return bool((found == 2 * value + 1).all() and len(found) == 1 + value % 5)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(400)))


def test_only_the_shapes_used_last_are_kept() -> None:
    runs = Runs(sum_and_product(), most_shapes=2)

    for rows in (1, 2, 1, 3, 1, 2):
        assert runs.run(["sum"], pair(rows, rows))[0].tolist() == [[2 * rows + 1] * 2] * rows
        assert runs.sessions.shapes <= 2


def test_a_run_that_fails_leaves_nothing_behind() -> None:
    runs = Runs(sum_and_product())

    for _ in range(2):
        with pytest.raises(Exception, match="b"):
            runs.run(["sum"], {"a": np.ones((1, 2), np.float32)})

    assert runs.sessions.shapes == 0
    assert runs.run(["sum"], pair(1, 1))[0].tolist() == [[3, 3]]
