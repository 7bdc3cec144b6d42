from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity, sum_and_product
from parfocal_runtime.models.bound_runs import BoundOutput, BoundRuns
from parfocal_runtime.models.sessions import SessionOptions, bound_outputs, open_session


def bound(model: bytes, *, most_shapes: int = 16) -> BoundRuns:
    """Return bound runs in the processor's memory: the same calls as in a GPU's."""
    opened = open_session(model, options=SessionOptions(threads=1))
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1

    def session() -> ort.InferenceSession:
        return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

    return BoundRuns(
        session(),
        session,
        bound_outputs(opened.inputs, opened.outputs),
        device=("cpu", 0),
        most_shapes=most_shapes,
    )


def pair(rows: int, value: float) -> dict[str, np.ndarray]:
    return {name: np.full((rows, 2), value + i, np.float32) for i, name in enumerate("ab")}


def test_outputs_come_in_the_order_wanted() -> None:
    runs = bound(sum_and_product())

    product, total = runs.run(["product", "sum"], pair(3, 2))

    assert total.tolist() == [[5, 5]] * 3
    assert product.tolist() == [[6, 6]] * 3
    assert runs.run(["sum"], pair(3, 2))[0].tolist() == total.tolist()


def test_what_was_given_out_is_not_touched_by_later_runs() -> None:
    runs = bound(sum_and_product())

    first = runs.run(["sum"], pair(2, 1))[0]
    second = runs.run(["sum"], pair(2, 10))[0]
    third = runs.run(["sum"], pair(5, 20))[0]

    assert first.tolist() == [[3, 3]] * 2
    assert second.tolist() == [[21, 21]] * 2
    assert third.tolist() == [[41, 41]] * 5


def test_read_only_strided_and_single_values_are_taken() -> None:
    runs = bound(identity())
    x = np.frombuffer(np.arange(8, dtype=np.float32).tobytes(), np.float32).reshape(4, 2)

    assert runs.run(["y"], {"x": x})[0].tolist() == x.tolist()
    assert runs.run(["y"], {"x": x[::2]})[0].tolist() == x[::2].tolist()
    single = bound(identity(TensorProto.INT64, ()))
    assert single.run(["y"], {"x": np.array(7)})[0].tolist() == 7


def test_an_output_whose_shape_nobody_knows_before_comes_back_all_the_same() -> None:
    runs = bound(
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


@pytest.mark.parametrize(
    ("inputs", "known"), [(("n", "n"), True), (("n", "m"), False), ((None, "n"), False)]
)
def test_an_output_has_known_rows_only_if_all_tensors_name_them_alike(
    inputs: tuple[str | None, str | None], known: bool
) -> None:
    session = open_session(
        graph(
            [helper.make_node("Add", ["a", "b"], ["c"])],
            inputs=[(name, TensorProto.FLOAT, (side, 2)) for name, side in zip("ab", inputs)],  # noqa: B905
            outputs=[("c", TensorProto.FLOAT, ("n", 2))],
        )
    )

    found = bound_outputs(session.inputs, session.outputs)

    assert found == {"c": BoundOutput(np.dtype(np.float32), (2,) if known else None)}


def test_runs_at_the_same_time_do_not_meet() -> None:
    runs = bound(sum_and_product())

    def run(value: int) -> bool:
        found = runs.run(["sum"], pair(1 + value % 5, value))[0]
        return bool((found == 2 * value + 1).all() and len(found) == 1 + value % 5)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(400)))


def test_only_the_shapes_used_last_are_kept() -> None:
    runs = bound(sum_and_product(), most_shapes=2)

    for rows in (1, 2, 1, 3, 1, 2):
        assert runs.run(["sum"], pair(rows, rows))[0].tolist() == [[2 * rows + 1] * 2] * rows
        assert runs.shapes <= 2


def test_a_run_that_fails_leaves_nothing_behind() -> None:
    runs = bound(sum_and_product())

    for _ in range(2):
        with pytest.raises(Exception, match="b"):
            runs.run(["sum"], {"a": np.ones((1, 2), np.float32)})

    assert runs.shapes == 0
    assert runs.run(["sum"], pair(1, 1))[0].tolist() == [[3, 3]]
