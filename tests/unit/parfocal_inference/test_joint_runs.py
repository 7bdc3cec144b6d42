from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity, sum_and_product
from parfocal_inference.joint_runs import RowsLost, Share, count_rows, put_together, run_jointly
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import open_session
from watched_session import WatchedSession


def pair(rows: int, value: float) -> dict[str, Array]:
    return {name: np.full((rows, 2), value + i, np.float32) for i, name in enumerate("ab")}


def test_each_gets_its_own_rows_and_the_outputs_it_asked_for() -> None:
    session = WatchedSession(open_session(sum_and_product()))
    shares = [
        Share(pair(1, 1), ["sum"]),
        Share(pair(0, 5), ["sum"]),
        Share(dict(reversed(pair(2, 2).items())), ["product", "sum"]),
        Share(pair(9, 3), ["product"], slice(4, 7)),
    ]

    parts, times = run_jointly(session, shares)

    (inputs, outputs) = session.seen[0]
    assert inputs["a"].shape == (6, 2)
    assert outputs == ["sum", "product"]
    assert [list(part) for part in parts] == [["sum"], ["sum"], ["product", "sum"], ["product"]]
    assert parts[0]["sum"].tolist() == [[3, 3]]
    assert parts[1]["sum"].shape == (0, 2)
    assert parts[2]["product"].tolist() == [[6, 6]] * 2
    assert parts[2]["sum"].tolist() == [[5, 5]] * 2
    assert parts[3]["product"].tolist() == [[12, 12]] * 3
    assert times.infer_ns > 0


def test_one_alone_is_passed_on_as_it_is() -> None:
    session = WatchedSession(open_session(identity()))
    x = np.arange(8, dtype=np.float32).reshape(4, 2)

    run_jointly(session, [Share({"x": x}, ["y"])])
    run_jointly(session, [Share({"x": x}, ["y"], slice(1, 3))])

    assert session.seen[0][0]["x"] is x
    assert np.shares_memory(session.seen[1][0]["x"], x)


def test_outputs_are_views_of_what_the_run_gave() -> None:
    x = np.ones((1, 2), np.float32)

    parts, _ = run_jointly(open_session(identity()), [Share({"x": x}, ["y"])] * 2)

    assert parts[0]["y"].base is not None
    assert parts[0]["y"].base is parts[1]["y"].base


def test_text_is_divided_too() -> None:
    words = [np.array([[word, word]], np.object_) for word in (b"soma", b"axon")]

    parts, _ = run_jointly(
        open_session(identity(TensorProto.STRING)), [Share({"x": word}, ["y"]) for word in words]
    )

    assert [part["y"].tolist() for part in parts] == [[[b"soma"] * 2], [[b"axon"] * 2]]


def test_outputs_that_are_not_as_many_as_the_rows_are_given_to_nobody() -> None:
    shape = ("n", 2)
    model = open_session(
        graph(
            [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
            inputs=[("x", TensorProto.FLOAT, shape)],
            outputs=[("y", TensorProto.FLOAT, ("m", 2))],
            constants=[helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
        )
    )
    share = Share({"x": np.ones((3, 2), np.float32)}, ["y"])

    with pytest.raises(RowsLost):
        run_jointly(model, [share, share])
    with pytest.raises(RowsLost):
        run_jointly(model, [Share(share.inputs, ["y"], slice(0, 2))])
    with pytest.raises(RowsLost):
        run_jointly(model, [share], buckets=(4,))
    assert run_jointly(model, [share])[0][0]["y"].tolist() == [[3, 3]]


def test_a_run_is_filled_up_with_rows_that_nobody_gets() -> None:
    session = WatchedSession(open_session(sum_and_product()))
    shares = [
        Share(pair(1, 1), ["sum"]),
        Share(pair(9, 3), ["product"], slice(4, 6)),
    ]

    parts, _ = run_jointly(session, shares, buckets=(1, 2, 4, 8))

    assert session.seen[0][0]["a"].tolist() == [[1, 1], [3, 3], [3, 3], [0, 0]]
    assert parts[0]["sum"].tolist() == [[3, 3]]
    assert parts[1]["product"].tolist() == [[12, 12]] * 2


def test_a_lone_request_is_filled_up_too_and_not_copied_where_it_fits() -> None:
    session = WatchedSession(open_session(identity()))
    x = np.arange(8, dtype=np.float32).reshape(4, 2)

    (filled,), _ = run_jointly(session, [Share({"x": x[:3]}, ["y"])], buckets=(4,))
    (whole,), _ = run_jointly(session, [Share({"x": x}, ["y"])], buckets=(4,))
    (beyond,), _ = run_jointly(session, [Share({"x": x}, ["y"])], buckets=(2,))

    assert [len(inputs["x"]) for inputs, _ in session.seen] == [4, 4, 4]
    assert session.seen[1][0]["x"] is x
    assert [len(part["y"]) for part in (filled, whole, beyond)] == [3, 4, 4]


def test_text_is_filled_up_too() -> None:
    words = np.array([[b"soma", b"axon"]], np.object_)

    (part,), _ = run_jointly(
        open_session(identity(TensorProto.STRING)), [Share({"x": words}, ["y"])], buckets=(4,)
    )

    assert part["y"].tolist() == words.tolist()


def test_parts_are_put_together_in_order() -> None:
    first, second = np.ones((2, 2)), np.zeros((1, 2))

    whole = put_together([{"y": first}, {"y": second}])

    assert whole["y"].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_all_inputs_of_a_request_have_as_many_rows() -> None:
    assert count_rows({"a": np.ones((3, 1)), "b": np.ones((3, 4))}) == 3
    with pytest.raises(InvalidInput) as caught:
        count_rows({"a": np.ones((3, 1)), "b": np.ones((1, 4))})
    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert caught.value.metadata == {"field": "inputs", "shape": "[1, 4]", "expected": "[3, 4]"}
