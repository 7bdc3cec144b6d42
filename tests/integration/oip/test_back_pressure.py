"""What callers hear of a model with more requests than it may have waiting."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from onnx import TensorProto, helper

from onnx_graphs import graph
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import Exhausted, TimedOut
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.status import DETAILS_KEY
from parfocal_runtime.store import open_store
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

SECONDS = 60.0
SIDE = 1200


def slow() -> bytes:
    """Return a graph that multiplies large matrices, which takes tens of milliseconds."""
    shape = ("n", 1)
    return graph(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Expand", ["sum", "sides"], ["matrix"]),
            helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
            helper.make_node("ReduceMax", ["product"], ["most"], keepdims=0),
            helper.make_node("Min", ["most", "zero"], ["nought"]),
            helper.make_node("Add", ["x", "nought"], ["y"]),
        ],
        inputs=[("x", TensorProto.FLOAT, shape)],
        outputs=[("y", TensorProto.FLOAT, shape)],
        constants=[
            helper.make_tensor("sides", TensorProto.INT64, [2], [SIDE, SIDE]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("pressure")
    store = open_store((folder / "store").as_uri())
    for name in ("bounded", "hasty"):
        file = folder / "model.onnx"
        file.write_bytes(slow())
        publish_file(store, name, file)
        tuned = read_config(store.read(f"models/{name}/config.pbtxt"))
        tune(tuned)
        store.write(f"models/{name}/config.pbtxt", write_config(tuned))
    config = InferenceConfig(
        port=0,
        metrics_port=0,
        store_uri=store.root,
        anonymous_role="viewer",
        session_threads=1,
    )
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        yield oip_grpc.GRPCInferenceServiceStub(channel)


def tune(config: config_pb.ModelConfig) -> None:
    config.max_batch_size = 1
    policy = config.dynamic_batching.default_queue_policy
    if config.name == "bounded":
        policy.max_queue_size = 2
    else:
        policy.default_timeout_microseconds = 1000


def all_at_once(stub: Any, model: str, count: int) -> list[float | grpc.RpcError]:
    def ask(number: int) -> float | grpc.RpcError:
        request = pb.ModelInferRequest(model_name=model)
        request.inputs.add(name="x", datatype="FP32", shape=(1, 1))
        request.raw_input_contents.append(np.float32(number).tobytes())
        try:
            answer = stub.ModelInfer(request, timeout=SECONDS)
        except grpc.RpcError as error:
            return error
        return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def test_a_full_queue_is_resource_exhausted_and_says_when_to_try_again(stub: Any) -> None:
    found = all_at_once(stub, "bounded", 12)

    answered = {number: each for number, each in enumerate(found) if isinstance(each, float)}
    refused: list[Any] = [each for each in found if isinstance(each, grpc.RpcError)]
    assert answered
    assert all(number == value for number, value in answered.items())
    assert refused
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        domain = domain_error(error)
        assert isinstance(domain, Exhausted)
        assert domain.reason == "ERROR_REASON_QUEUE_FULL"
        assert domain.metadata == {"model": "bounded", "version": "1", "limit": "2"}
    trailing = {key: value for key, value in refused[0].trailing_metadata()}
    details = status_pb2.Status.FromString(trailing[DETAILS_KEY]).details
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in details)
    assert 0 < retry.retry_delay.ToNanoseconds() < 10e9


def test_waiting_too_long_is_deadline_exceeded_with_a_reason(stub: Any) -> None:
    found = all_at_once(stub, "hasty", 8)

    late: list[Any] = [each for each in found if isinstance(each, grpc.RpcError)]
    assert late
    for error in late:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        domain = domain_error(error)
        assert isinstance(domain, TimedOut)
        assert domain.reason == "ERROR_REASON_QUEUE_TIMEOUT"
        assert domain.metadata["timeout_us"] == "1000"
