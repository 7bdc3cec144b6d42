from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity, sum_and_product
from parfocal_runtime.errors import Exhausted, InvalidInput, WrongState
from parfocal_runtime.models.datatypes import Array, from_bf16_bits, to_bf16_bits
from parfocal_runtime.models.graph import opset_of
from parfocal_runtime.models.providers import CPU, CUDA, OPENVINO, PRECISION, TENSORRT
from parfocal_runtime.models.sessions import (
    ModelSession,
    SessionOptions,
    check_providers,
    open_session,
)

ON_OPENVINO = SessionOptions(providers=(OPENVINO, CPU), threads=1)


def test_inputs_and_outputs_are_described_in_the_order_of_the_graph() -> None:
    session = open_session(sum_and_product())

    assert [(spec.name, spec.datatype, spec.shape) for spec in session.inputs] == [
        ("a", "FP32", (-1, 2)),
        ("b", "FP32", (-1, 2)),
    ]
    assert [spec.name for spec in session.outputs] == ["sum", "product"]
    assert session.inputs[0].symbols == ("n", "")
    assert session.inputs[0].has_batch


def test_only_the_outputs_wanted_come_back_in_the_order_wanted() -> None:
    session = open_session(sum_and_product())
    ones = np.ones((3, 2), np.float32)

    found = session.run({"a": ones, "b": 2 * ones}, ["product", "sum"])

    assert list(found) == ["product", "sum"]
    np.testing.assert_array_equal(found["sum"], 3 * ones)
    np.testing.assert_array_equal(found["product"], 2 * ones)


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        (TensorProto.BOOL, np.bool_),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.UINT16, np.uint16),
        (TensorProto.UINT32, np.uint32),
        (TensorProto.UINT64, np.uint64),
        (TensorProto.INT8, np.int8),
        (TensorProto.INT16, np.int16),
        (TensorProto.INT32, np.int32),
        (TensorProto.INT64, np.int64),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.FLOAT, np.float32),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.BFLOAT16, np.uint16),
    ],
)
def test_every_element_type_passes_unchanged(element: int, dtype: type[np.generic]) -> None:
    session = open_session(identity(element))
    given = np.array([[0, 1], [1, 0]]).astype(dtype)

    found = session.run({"x": given})["y"]

    assert found.dtype == session.outputs[0].dtype == given.dtype
    np.testing.assert_array_equal(found, given)


def test_text_goes_in_as_bytes_and_comes_out_as_bytes() -> None:
    session = open_session(identity(TensorProto.STRING))
    given = np.array([["a\0b", b"\xc3\xbc"]], dtype=object)

    found = session.run({"x": given})["y"]

    assert found.tolist() == [[b"a\0b", b"\xc3\xbc"]]


def test_bytes_that_are_no_text_are_refused_by_the_name_of_the_input() -> None:
    session = open_session(identity(TensorProto.STRING))

    with pytest.raises(InvalidInput, match="UTF-8") as caught:
        session.run({"x": np.array([[b"\xff", b""]], dtype=object)})

    assert caught.value.metadata["field"] == "x"


def test_bf16_bits_round_to_the_nearest_value() -> None:
    values = np.array([1.0, -2.5, 3.140625, 1e30], np.float32)

    there_and_back = from_bf16_bits(to_bf16_bits(values))

    np.testing.assert_allclose(there_and_back, values, rtol=2**-8)
    assert there_and_back[0] == 1.0


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", identity()[:-5], identity()[:20]],
    ids=["empty", "text", "tail cut off", "head only"],
)
def test_a_file_that_is_no_whole_model_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_session(content)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"
    assert caught.value.metadata["cause"]


@pytest.mark.parametrize("shape", [(3, 3), (2,), (2, 2, 2)])
def test_arrays_that_do_not_fit_the_graph_are_refused(shape: tuple[int, ...]) -> None:
    session = open_session(identity())

    with pytest.raises(InvalidInput, match="cannot run"):
        session.run({"x": np.zeros(shape, np.float32)})


def test_an_input_that_is_not_given_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot run"):
        open_session(sum_and_product()).run({"a": np.zeros((1, 2), np.float32)})


def test_a_failure_inside_the_graph_is_the_inputs_fault() -> None:
    shape = ("n", "m")
    adding = graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        inputs=[("a", TensorProto.FLOAT, shape), ("b", TensorProto.FLOAT, ("k", "l"))],
        outputs=[("c", TensorProto.FLOAT, None)],
    )

    with pytest.raises(InvalidInput) as caught:
        open_session(adding).run(
            {"a": np.zeros((2, 2), np.float32), "b": np.zeros((3, 3), np.float32)}
        )

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"


@pytest.mark.parametrize("provider", [CUDA, TENSORRT, OPENVINO])
def test_a_provider_that_is_not_there_is_refused_and_not_replaced_by_the_cpu(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    options = SessionOptions(providers=(provider, CPU))

    for attempt in (lambda: open_session(identity(), options=options),
                    lambda: check_providers(options)):  # fmt: skip
        with pytest.raises(WrongState) as caught:
            attempt()

        assert caught.value.reason == "ERROR_REASON_PROVIDER_UNAVAILABLE"
        assert caught.value.metadata["provider"] == provider


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_that_fails_on_openvino_is_the_inputs_fault_and_gives_no_older_answer(
    threads: int, runs: int
) -> None:
    adding = graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        inputs=[("a", TensorProto.FLOAT, ("n", "m")), ("b", TensorProto.FLOAT, ("k", "l"))],
        outputs=[("c", TensorProto.FLOAT, None)],
    )
    session = open_session(adding, options=replace(ON_OPENVINO, threads=threads), runs=runs)
    good = {"a": np.ones((2, 2), np.float32), "b": np.ones((2, 2), np.float32)}

    for _ in range(2 * runs):
        assert session.run(good)["c"].tolist() == [[2, 2], [2, 2]]
        with pytest.raises(InvalidInput, match=r"cannot run.*mismatch"):
            session.run({**good, "b": np.ones((3, 3), np.float32)})


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"a": np.ones((1, 2), np.float32)},
        {"a": np.ones((1, 2), np.float32), "c": np.ones((1, 2), np.float32)},
        {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float64)},
        {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 3), np.float32)},
    ],
    ids=["none", "one missing", "another name", "another type", "another shape"],
)
def test_openvino_does_not_convert_what_does_not_fit(inputs: dict[str, Array]) -> None:
    session = open_session(sum_and_product(), options=ON_OPENVINO)

    with pytest.raises(InvalidInput, match="cannot run"):
        session.run(inputs)


def test_openvino_gives_the_outputs_wanted_in_arrays_of_their_own() -> None:
    session = open_session(sum_and_product(), options=ON_OPENVINO)
    threes = {name: np.full((1, 2), 3, np.float32) for name in "ab"}

    first = session.run(threes, ["product", "sum"])
    session.run({name: np.zeros((1, 2), np.float32) for name in "ab"})

    assert session.providers == (OPENVINO,)
    assert list(first) == ["product", "sum"]
    assert first["product"].tolist() == [[9, 9]]
    assert first["sum"].tolist() == [[6, 6]]


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs"),
    [
        ([("Sub", ["a", "c"], "y")], "abc", "y"),
        ([("Neg", ["b"], "y")], "ab", "y"),
        ([("Neg", ["a"], "p"), ("Sub", ["a", "b"], "q")], "ba", "qp"),
        ([("Neg", ["a"], "p"), ("Identity", ["p"], "q"), ("Identity", ["p"], "r")], "a", "rqp"),
        ([("Neg", ["a"], "p"), ("Identity", ["a"], "q")], "a", "qp"),
    ],
    ids=[
        "one not looked at",
        "the first not looked at",
        "another order",
        "one thrice",
        "as it came",
    ],
)
def test_openvino_gives_and_takes_by_name_what_onnx_runtime_does(
    nodes: list[tuple[str, list[str], str]], inputs: str, outputs: str
) -> None:
    shape = ("n", 2)
    model = graph(
        [helper.make_node(kind, given, [result]) for kind, given, result in nodes],
        inputs=[(name, TensorProto.FLOAT, shape) for name in inputs],
        outputs=[(name, TensorProto.FLOAT, shape) for name in outputs],
    )
    feed = {name: np.full((2, 2), at + 1, np.float32) for at, name in enumerate(inputs)}

    found = open_session(model, options=ON_OPENVINO).run(feed)

    expected = open_session(model).run(feed)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "element",
    [TensorProto.INT64, TensorProto.UINT64, TensorProto.DOUBLE, TensorProto.BFLOAT16,
     TensorProto.STRING],
)  # fmt: skip
def test_openvino_is_refused_what_it_would_change(element: int) -> None:
    with pytest.raises(WrongState, match="x, one of the inputs") as caught:
        open_session(identity(element), options=ON_OPENVINO)

    assert caught.value.reason == "ERROR_REASON_PROVIDER_UNAVAILABLE"


def test_openvino_may_be_told_to_round() -> None:
    options = replace(ON_OPENVINO, settings={OPENVINO: {PRECISION: "bf16"}})
    session = open_session(sum_and_product(), options=options)
    thirds = {name: np.full((2, 2), 1 / 3, np.float32) for name in "ab"}

    found = session.run(thirds)

    # A processor without instructions for it computes with 32 bits.
    np.testing.assert_allclose(found["product"], 1 / 9, rtol=1e-2)
    assert session.rounds
    assert not open_session(sum_and_product(), options=ON_OPENVINO).rounds


def test_a_graph_that_openvino_does_not_know_is_refused_and_not_run_elsewhere() -> None:
    determinant = graph(
        [helper.make_node("Det", ["x"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n", 2, 2))],
        outputs=[("y", TensorProto.FLOAT, ("n",))],
    )

    with pytest.raises(WrongState, match="cannot run this graph") as caught:
        open_session(determinant, options=ON_OPENVINO)

    assert caught.value.metadata["provider"] == OPENVINO


def test_a_file_that_is_no_model_is_no_fault_of_openvino() -> None:
    with pytest.raises(InvalidInput) as caught:
        open_session(b"not a model", options=ON_OPENVINO)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"


def test_the_processor_is_always_there() -> None:
    check_providers(SessionOptions())


def test_a_run_that_memory_does_not_suffice_for_is_told_from_one_that_is_wrong() -> None:
    session = open_session(
        graph(
            [helper.make_node("ConstantOfShape", ["shape"], ["y"])],
            inputs=[("shape", TensorProto.INT64, (1,))],
            outputs=[("y", TensorProto.FLOAT, ("n",))],
        )
    )

    with pytest.raises(Exhausted) as caught:
        session.run({"shape": np.array([1 << 50], np.int64)})

    assert caught.value.reason == "ERROR_REASON_MODEL_MEMORY"


@dataclass(frozen=True)
class OnStandIn(SessionOptions):
    """Options of a GPU whose memory is the processor's."""

    @property
    def on_gpu(self) -> bool:
        return True


def on_stand_in(model: bytes) -> tuple[ModelSession, list[int]]:
    """Return a session as on a GPU, and a list that grows with each further one of the graph."""
    opened: list[int] = []

    def reopened() -> ort.InferenceSession:
        opened.append(1)
        return ort.InferenceSession(model, providers=[CPU])

    first = ort.InferenceSession(model, providers=[CPU])
    return ModelSession(first, OnStandIn(), reopened=reopened), opened


def test_on_a_gpu_each_shape_has_a_session_and_meets_it_again() -> None:
    session, opened = on_stand_in(sum_and_product())

    for count in (0, 1, 1, 1):
        for rows in (1, 4) if count else (1,):
            ones = np.ones((rows, 2), np.float32)
            found = session.run({"a": ones, "b": ones}, ["product", "sum"])
            assert list(found) == ["product", "sum"]
            assert found["sum"].tolist() == [[2, 2]] * rows
        assert len(opened) == count
    assert session.on_gpu


@pytest.mark.parametrize("element", [TensorProto.STRING, TensorProto.BFLOAT16])
def test_on_a_gpu_each_shape_of_text_and_of_bfloat16_has_a_session_too(element: int) -> None:
    session, opened = on_stand_in(identity(element))
    x = np.array([[1, 2]], np.uint16 if element == TensorProto.BFLOAT16 else object)

    for rows in (1, 3, 1):
        assert session.run({"x": np.repeat(x, rows, axis=0)})["y"].shape == (rows, 2)

    assert opened == [1]


def test_on_a_gpu_inputs_that_do_not_fit_are_refused_as_elsewhere() -> None:
    session, _ = on_stand_in(sum_and_product())
    ones = np.ones((1, 2), np.float32)

    for inputs in ({"a": ones}, {"a": ones, "b": np.ones((1, 3), np.float32)}):
        with pytest.raises(InvalidInput, match="cannot run"):
            session.run(inputs)
    assert session.run({"a": ones, "b": ones})["sum"].tolist() == [[2, 2]]


def test_a_graph_with_weights_in_another_file_is_refused() -> None:
    import onnx

    model = onnx.load_model_from_string(identity())
    outside = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/hostname")

    with pytest.raises(InvalidInput, match="another file"):
        opset_of(model.SerializeToString())


def test_the_runtime_of_models_tells_its_maker_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        environment.pop(name, None)

    subprocess.run(
        [sys.executable, "-c", "import parfocal_runtime.models.sessions"],
        env=environment,
        check=True,
    )

    # With events on, a device id and a queue of events appear below the home folder.
    assert list(tmp_path.rglob("*onnxruntime*")) == []
