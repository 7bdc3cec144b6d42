"""The same calls to MLServer and to ours, with the same ONNX model behind both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper

from foreign_environments import interpreter
from mlserver_process import mlserver
from onnx_graphs import graph
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.mlserver import model_repository_pb2_grpc as repository_grpc
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import LocalStore

SECONDS = 60.0
NUMPY = {"FP32": np.float32, "INT64": np.int64}


def mixed() -> bytes:
    """Return a graph with inputs and outputs of two types: x + n, and n twice over."""
    return graph(
        [
            helper.make_node("Cast", ["n"], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "as_float"], ["sum"]),
            helper.make_node("Add", ["n", "n"], ["twice"]),
        ],
        inputs=[("x", TensorProto.FLOAT, ("rows", 3)), ("n", TensorProto.INT64, ("rows", 1))],
        outputs=[
            ("sum", TensorProto.FLOAT, ("rows", 3)),
            ("twice", TensorProto.INT64, ("rows", 1)),
        ],
    )


class Server:
    """What is called: a server's stubs."""

    def __init__(self, address: str) -> None:
        self.channel = sync_channel(address)
        self.protocol: Any = GRPCInferenceServiceStub(self.channel)
        self.repository: Any = repository_grpc.ModelRepositoryServiceStub(self.channel)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """MLServer and ours."""
    folder = tmp_path_factory.mktemp("servers")
    (folder / "model.onnx").write_bytes(mixed())
    store = LocalStore(folder / "store")
    publish_file(store, "mixed", folder / "model.onnx")
    config = InferenceConfig(port=0, anonymous_role="viewer", session_threads=1)
    with (
        mlserver(interpreter("mlserver"), folder / "mlserver", {"mixed": mixed()}) as theirs,
        serving_in_thread([build(config, store)], config) as ours,
    ):
        both = Server(f"127.0.0.1:{theirs.port}"), Server(ours.address)
        for each in both:
            wait_until_ready(each.protocol)
        yield both
        for each in both:
            each.channel.close()


def wait_until_ready(stub: Any) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            if stub.ModelReady(pb.ModelReadyRequest(name="mixed"), timeout=5).ready:
                return
        except grpc.RpcError:
            assert time.monotonic() < end
        time.sleep(0.1)


def request(**more: Any) -> pb.ModelInferRequest:
    x = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    n = np.array([[1], [-(2**40)]])
    made = pb.ModelInferRequest(model_name="mixed", **more)
    made.inputs.add(name="x", datatype="FP32", shape=x.shape)
    made.inputs.add(name="n", datatype="INT64", shape=n.shape)
    made.raw_input_contents.extend([x.tobytes(), n.tobytes()])
    return made


def typed() -> pb.ModelInferRequest:
    made = request()
    x, n = made.raw_input_contents
    made.inputs[0].contents.fp32_contents.extend(np.frombuffer(x, np.float32).tolist())
    made.inputs[1].contents.int64_contents.extend(np.frombuffer(n, np.int64).tolist())
    del made.raw_input_contents[:]
    return made


def arrays(answer: pb.ModelInferResponse) -> dict[str, list[Any]]:
    """Return the outputs by name, whichever way they travelled."""
    found = {}
    for i, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            flat = np.frombuffer(answer.raw_output_contents[i], NUMPY[output.datatype])
        else:
            ((_, values),) = output.contents.ListFields()
            flat = np.array(values, NUMPY[output.datatype])
        found[output.name] = flat.reshape(tuple(output.shape)).tolist()
    return found


def said(answer: pb.ModelInferResponse) -> tuple[Any, ...]:
    described = [(each.name, each.datatype, tuple(each.shape)) for each in answer.outputs]
    return answer.model_name, answer.model_version, answer.id, described, arrays(answer)


def both(servers: tuple[Server, Server], method: str, request: Any) -> tuple[Any, Any]:
    theirs, ours = (getattr(each.protocol, method)(request, timeout=SECONDS) for each in servers)
    return theirs, ours


@pytest.mark.parametrize(
    "wanted",
    [
        request(id="a-1"),
        request(id="a-2", model_version="1"),
        request(id="a-3", outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="twice")]),
    ],
    ids=["raw", "with a version", "one output"],
)
def test_answers_of_raw_tensors_are_equal(
    servers: tuple[Server, Server], wanted: pb.ModelInferRequest
) -> None:
    theirs, ours = both(servers, "ModelInfer", wanted)

    assert said(theirs) == said(ours)
    assert theirs.raw_output_contents == ours.raw_output_contents


def test_answers_of_typed_tensors_are_equal_in_their_values(
    servers: tuple[Server, Server],
) -> None:
    theirs, ours = both(servers, "ModelInfer", typed())

    assert arrays(theirs) == arrays(ours)


def test_both_are_live_and_ready(servers: tuple[Server, Server]) -> None:
    for method, wanted in (
        ("ServerLive", pb.ServerLiveRequest()),
        ("ServerReady", pb.ServerReadyRequest()),
        ("ModelReady", pb.ModelReadyRequest(name="mixed")),
        ("ModelReady", pb.ModelReadyRequest(name="mixed", version="1")),
    ):
        theirs, ours = both(servers, method, wanted)
        assert theirs == ours


def test_both_tell_the_same_of_a_model(servers: tuple[Server, Server]) -> None:
    theirs, ours = both(servers, "ModelMetadata", pb.ModelMetadataRequest(name="mixed"))

    assert theirs.name == ours.name
    assert (list(theirs.inputs), list(theirs.outputs)) == (list(ours.inputs), list(ours.outputs))


def test_both_list_the_same_models(servers: tuple[Server, Server]) -> None:
    theirs, ours = (
        each.repository.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=SECONDS)
        for each in servers
    )
    for each in theirs.models:
        # It writes the name of its own enumeration, where its protocol has the state's.
        each.state = each.state.removeprefix("State.")

    assert theirs == ours


def test_both_say_that_there_is_no_such_model(servers: tuple[Server, Server]) -> None:
    codes = []
    for each in servers:
        with pytest.raises(grpc.RpcError) as caught:
            each.protocol.ModelInfer(pb.ModelInferRequest(model_name="none"), timeout=SECONDS)
        codes.append(caught.value.code())

    assert codes == [grpc.StatusCode.NOT_FOUND] * 2
