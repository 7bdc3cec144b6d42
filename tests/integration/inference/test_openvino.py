"""The service on OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference_requests import block, box
from oip_requests import failure, request
from onnx_graphs import graph, identity
from parfocal.common.v1 import artifact_pb2
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from parfocal_runtime.arrays import open_array
from parfocal_runtime.models.providers import OPENVINO
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.variants import publish_variant
from parfocal_runtime.store import LocalStore, ObjectStore

WINDOW = (4, 16, 16)
SECONDS = 60.0
ACCELERATED = """
max_batch_size: 16
dynamic_batching { }
instance_group [ { count: 2 } ]
optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" } ] } }
"""


def convolutions() -> bytes:
    """Return a base model of two convolutions in three axes."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.02, (8, 1, 3, 3, 3)).astype(np.float32)
    second = rng.normal(0, 0.1, (1, 8, 3, 3, 3)).astype(np.float32)
    shape = ("n", 1, *WINDOW)
    return graph(
        [
            helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["grey", "first"], ["inner"], pads=[1] * 6),
            helper.make_node("Relu", ["inner"], ["active"]),
            helper.make_node("Conv", ["active", "second"], ["logit"], pads=[1] * 6),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        inputs=[("image", TensorProto.UINT8, shape)],
        outputs=[("probability", TensorProto.FLOAT, shape)],
        constants=[numpy_helper.from_array(first, "first"),
                   numpy_helper.from_array(second, "second")],
    )  # fmt: skip


def dense() -> bytes:
    """Return a model of floats, y = x W with W (6, 6)."""
    weights = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n", 6))],
        outputs=[("y", TensorProto.FLOAT, ("n", 6))],
        constants=[numpy_helper.from_array(weights, "w")],
    )


def adding() -> bytes:
    """Return a graph whose inputs may have sides that do not go together."""
    return graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        inputs=[("a", TensorProto.FLOAT, ("n", "m")), ("b", TensorProto.FLOAT, ("k", "l"))],
        outputs=[("c", TensorProto.FLOAT, None)],
    )


def table() -> bytes:
    """Return a graph that picks from the numbers 5, 6 and 7."""
    return graph(
        [helper.make_node("Gather", ["table", "at"], ["y"])],
        inputs=[("at", TensorProto.INT32, ("n", 1))],
        outputs=[("y", TensorProto.FLOAT, ("n", 1))],
        constants=[helper.make_tensor("table", TensorProto.FLOAT, [3], [5, 6, 7])],
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """A store with `volumes`, `adding`, `table`, `dense` with its variants, and `demanding`."""
    folder = tmp_path_factory.mktemp("openvino")
    store = LocalStore(folder / "store")
    models = {
        "volumes": convolutions(),
        "adding": adding(),
        "table": table(),
        "dense": dense(),
        "demanding": dense(),
    }
    for name, model in models.items():
        (folder / "model.onnx").write_bytes(model)
        publish_file(store, name, folder / "model.onnx")
    publish_variant(store, "dense", "fp16")
    publish_variant(store, "dense", "int8")
    store.write("models/demanding/config.pbtxt", ACCELERATED.encode())
    return store


@pytest.fixture
def openvino(published: ObjectStore, served: Any) -> Iterator[grpc.Channel]:
    """A channel to a service that runs all models on OpenVINO."""
    with served(published, providers=(OPENVINO,)) as channel:
        yield channel


def rows_of_dense(model: str, x: npt.NDArray[np.float32]) -> pb.ModelInferRequest:
    """Return a request with `x` (n, 6)."""
    return request(model, {"x": ("FP32", x)})


def answered(stub: Any, asked: pb.ModelInferRequest) -> npt.NDArray[np.float32]:
    """Return the only output, a matrix of floats."""
    answer = stub.ModelInfer(asked, timeout=SECONDS, wait_for_ready=True)
    found = np.frombuffer(answer.raw_output_contents[0], np.float32)
    return found.reshape(tuple(answer.outputs[0].shape))


def test_a_map_is_that_of_the_processor_and_does_not_depend_on_its_blocks(
    published: ObjectStore,
    openvino: grpc.Channel,
    store: ObjectStore,
    served: Any,
    picture: npt.NDArray[np.uint8],
) -> None:
    model = artifact_pb2.ModelVersion(name="volumes")
    for path in store.list("projects/demo/images/"):
        published.write(path, store.read(path))
    stub = InferenceServiceStub(openvino)
    maps = {name: f"projects/demo/predictions/vnc/{name}.ome.zarr/0" for name in ("1", "2", "cpu")}

    stub.SegmentBlock(block(model=model, prediction=maps["1"]), timeout=SECONDS)
    for part in (box(0, 0, 0, 6, 40, 128), box(0, 0, 128, 6, 40, 200)):
        ask = block(model=model, prediction=maps["2"], box=part)
        stub.SegmentBlock(ask, timeout=SECONDS)
    with served(published) as channel:
        cpu = InferenceServiceStub(channel)
        cpu.SegmentBlock(block(model=model, prediction=maps["cpu"]), timeout=SECONDS)

    whole, pieces, processor = (
        np.asarray(open_array(published, path).read().result(), np.int64) for path in maps.values()
    )
    assert np.array_equal(whole, pieces)
    assert np.abs(whole - processor).max() <= 1
    assert whole.std() > 1


@pytest.mark.parametrize("model", ["dense", "dense-fp16", "dense-int8"])
def test_a_model_and_its_variants_give_what_they_give_on_the_processor(
    published: ObjectStore, openvino: grpc.Channel, served: Any, model: str
) -> None:
    x = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)

    found = answered(GRPCInferenceServiceStub(openvino), rows_of_dense(model, x))

    with served(published) as channel:
        expected = answered(GRPCInferenceServiceStub(channel), rows_of_dense(model, x))
    # It computes in 32 bits what a graph of 16 says.
    np.testing.assert_allclose(found, expected, atol=1e-2 if "fp16" in model else 1e-5)


def test_rows_of_many_callers_share_runs_and_go_back_to_their_own(
    published: ObjectStore, openvino: grpc.Channel
) -> None:
    stub = GRPCInferenceServiceStub(openvino)
    rng = np.random.default_rng(3)
    asked = [rng.normal(size=(rng.integers(1, 20), 6)).astype(np.float32) for _ in range(200)]
    weights = answered(stub, rows_of_dense("demanding", np.eye(6, dtype=np.float32)))

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda x: answered(stub, rows_of_dense("demanding", x)), asked))

    for x, y in zip(asked, found, strict=True):
        np.testing.assert_allclose(y, x @ weights, atol=1e-4)


def test_a_run_that_fails_is_the_inputs_fault(openvino: grpc.Channel) -> None:
    a, b = np.zeros((2, 2), np.float32), np.zeros((3, 3), np.float32)

    error = failure(
        GRPCInferenceServiceStub(openvino).ModelInfer,
        request("adding", {"a": ("FP32", a), "b": ("FP32", b)}),
    )

    assert error.reason == "ERROR_REASON_INVALID_FIELD"


def test_one_model_may_ask_for_it_where_others_run_on_the_processor(
    published: ObjectStore, served: Any
) -> None:
    # An index outside of a table is an error of ONNX Runtime, and 0 to OpenVINO.
    published.write("models/table/config.pbtxt", ACCELERATED.encode())
    outside = request("table", {"at": ("INT32", np.array([[0], [99]], np.int32))})

    with served(published) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(outside, timeout=SECONDS, wait_for_ready=True)

    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [5, 0]


@pytest.mark.parametrize(("element", "datatype"), [(TensorProto.INT64, "INT64"),
                                                   (TensorProto.STRING, "BYTES")])  # fmt: skip
def test_what_it_would_compute_with_fewer_bits_is_refused(
    tmp_path: Path, served: Any, element: int, datatype: str
) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "model.onnx").write_bytes(identity(element))
    publish_file(store, "wide", tmp_path / "model.onnx")
    array = np.ones((1, 2), np.int64)

    with served(store, providers=(OPENVINO,)) as channel:
        stub = GRPCInferenceServiceStub(channel)
        error = failure(stub.ModelInfer, request("wide", {"x": ("INT64", array)}))

    assert error.reason == "ERROR_REASON_PROVIDER_UNAVAILABLE"
    assert datatype in error.message
