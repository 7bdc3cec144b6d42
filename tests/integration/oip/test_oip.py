"""The Open Inference Protocol on a real server."""

from __future__ import annotations

import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from oip_requests import SECONDS, base_request, failure, request
from onnx_graphs import base_model, base_model_card
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.errors import DomainError, InvalidInput, NotFound, WrongState

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip


def test_the_server_is_live_and_ready_for_anybody(oip: Oip) -> None:
    with sync_channel(oip.server.address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)

        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=SECONDS).live
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=SECONDS).ready


def test_models_are_for_callers_with_a_token(oip: Oip) -> None:
    with sync_channel(oip.server.address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(base_request(), timeout=SECONDS)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_knows_the_protocol_by_its_names(oip: Oip) -> None:
    names = (
        "inference.GRPCInferenceService",
        "inference.model_repository.ModelRepositoryService",
    )
    with sync_channel(oip.server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answers = [
            health.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
            for name in names
        ]

    assert {answer.status for answer in answers} == {health_pb2.HealthCheckResponse.SERVING}


def test_the_server_tells_its_name_and_version(oip: Oip) -> None:
    answer = oip.stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=SECONDS)

    assert answer.name == "parfocal"
    assert answer.version
    assert set(answer.extensions) == {
        "model_repository",
        "schedule_policy",
        "model_configuration",
        "statistics",
    }


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("base", "", True),
        ("base", "1", True),
        ("base", "9", False),
        ("broken", "", False),
        ("none", "", False),
    ],
)
def test_a_model_is_ready_if_it_is_there_and_passed_its_self_test(
    oip: Oip, name: str, version: str, ready: bool
) -> None:
    answer = oip.stub.ModelReady(pb.ModelReadyRequest(name=name, version=version), timeout=SECONDS)

    assert answer.ready == ready


def test_metadata_tells_tensors_and_versions(oip: Oip) -> None:
    answer = oip.stub.ModelMetadata(pb.ModelMetadataRequest(name="base"), timeout=SECONDS)

    assert answer.platform == "onnxruntime_onnx"
    assert answer.versions[0] == "1"
    (image,), (probability,) = answer.inputs, answer.outputs
    assert (image.name, image.datatype, list(image.shape)) == ("image", "UINT8", [-1, 1, 4, 8, 8])
    assert (probability.name, probability.datatype) == ("probability", "FP32")
    assert not answer.properties


def test_a_request_is_answered_raw_with_its_id(oip: Oip) -> None:
    answer = oip.stub.ModelInfer(base_request(51, id="page 7"), timeout=SECONDS)

    assert (answer.model_name, answer.model_version, answer.id) == ("base", "1", "page 7")
    assert list(answer.outputs[0].shape) == [1, 1, 4, 8, 8]
    assert not answer.outputs[0].HasField("contents")
    found = np.frombuffer(answer.raw_output_contents[0], "<f4")
    np.testing.assert_allclose(found, np.full(256, 0.2), rtol=1e-6)


def test_outputs_come_as_asked_for(oip: Oip) -> None:
    a, b = np.array([[3, 4]], np.float32), np.array([[5, 6]], np.float32)
    arrays = {"b": ("FP32", b), "a": ("FP32", a)}

    every = oip.stub.ModelInfer(request("arithmetic", arrays), timeout=SECONDS)
    one = oip.stub.ModelInfer(request("arithmetic", arrays, outputs=("product",)), timeout=SECONDS)

    assert [output.name for output in every.outputs] == ["sum", "product"]
    assert [output.name for output in one.outputs] == ["product"]
    assert np.frombuffer(one.raw_output_contents[0], np.float32).tolist() == [15, 24]


@pytest.mark.parametrize(
    ("model", "datatype", "dtype"),
    [
        ("id-bool", "BOOL", np.bool_),
        ("id-uint8", "UINT8", np.uint8),
        ("id-int64", "INT64", np.int64),
        ("id-fp16", "FP16", np.float16),
        ("id-bf16", "BF16", np.uint16),
        ("id-fp64", "FP64", np.float64),
    ],
)
def test_element_types_pass_unchanged(
    oip: Oip, model: str, datatype: str, dtype: type[np.generic]
) -> None:
    array = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)

    answer = oip.stub.ModelInfer(request(model, {"x": (datatype, array)}), timeout=SECONDS)

    assert answer.outputs[0].datatype == datatype
    assert answer.raw_output_contents[0] == array.tobytes()


def test_text_passes_unchanged_from_typed_contents(oip: Oip) -> None:
    message = pb.ModelInferRequest(model_name="id-bytes")
    tensor = message.inputs.add(name="x", datatype="BYTES", shape=(1, 2))
    tensor.contents.bytes_contents.extend(["cristæ".encode(), b""])

    answer = oip.stub.ModelInfer(message, timeout=SECONDS)

    assert answer.raw_output_contents[0] == b"\x07\0\0\0crist\xc3\xa6\0\0\0\0"


def test_no_rows_in_are_no_rows_out(oip: Oip) -> None:
    empty = np.empty((0, 2), np.float32)

    answer = oip.stub.ModelInfer(
        request("arithmetic", {"a": ("FP32", empty), "b": ("FP32", empty)}), timeout=SECONDS
    )

    assert list(answer.outputs[0].shape) == [0, 2]


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        (base_request(version="9"), NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        (base_request(version="one"), InvalidInput, "ERROR_REASON_INVALID_FIELD"),
        (pb.ModelInferRequest(model_name="none"), NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        (pb.ModelInferRequest(), NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        (pb.ModelInferRequest(model_name="../base"), NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        (pb.ModelInferRequest(model_name="base"), InvalidInput, "ERROR_REASON_MISSING_FIELD"),
        (
            pb.ModelInferRequest(model_name="broken"),
            WrongState,
            "ERROR_REASON_MODEL_SELF_TEST_FAILED",
        ),
        (
            request("base", {"image": ("FP32", np.zeros((1, 1, 4, 8, 8), np.float32))}),
            InvalidInput,
            "ERROR_REASON_DTYPE_MISMATCH",
        ),
        (
            request("base", {"image": ("UINT8", np.zeros((1, 1, 4, 8, 9), np.uint8))}),
            InvalidInput,
            "ERROR_REASON_SHAPE_MISMATCH",
        ),
        (
            request("base", {"picture": ("UINT8", np.zeros((1, 1, 4, 8, 8), np.uint8))}),
            InvalidInput,
            "ERROR_REASON_INVALID_FIELD",
        ),
        (
            request(
                "arithmetic",
                {"a": ("FP32", np.zeros((2, 2), "f4")), "b": ("FP32", np.zeros((3, 2), "f4"))},
            ),
            InvalidInput,
            "ERROR_REASON_SHAPE_MISMATCH",
        ),
    ],
)
def test_bad_requests_are_refused_with_a_reason(
    oip: Oip, message: pb.ModelInferRequest, kind: type[DomainError], reason: str
) -> None:
    error = failure(oip.stub.ModelInfer, message)

    assert type(error) is kind
    assert error.reason == reason


def test_parameters_that_are_known_are_taken_and_others_passed_over(oip: Oip) -> None:
    message = base_request(id="urgent")
    message.parameters["priority"].int64_param = 1
    message.parameters["timeout"].int64_param = 5_000_000
    message.parameters["binary_data_output"].bool_param = True
    message.inputs[0].parameters["binary_data_size"].int64_param = 256
    message.outputs.add(name="probability").parameters["binary_data"].bool_param = False

    answer = oip.stub.ModelInfer(message, timeout=SECONDS)

    assert answer.id == "urgent"
    assert len(answer.raw_output_contents[0]) == 4 * 256


@pytest.mark.parametrize("name", ["priority", "timeout"])
@pytest.mark.parametrize(
    "parameter",
    [
        pb.InferParameter(string_param="1"),
        pb.InferParameter(double_param=1.0),
        pb.InferParameter(bool_param=True),
        pb.InferParameter(int64_param=-1),
        pb.InferParameter(),
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused_by_its_name(
    oip: Oip, name: str, parameter: pb.InferParameter
) -> None:
    message = base_request()
    message.parameters[name].CopyFrom(parameter)

    error = failure(oip.stub.ModelInfer, message)

    assert error.reason == "ERROR_REASON_INVALID_FIELD"
    assert error.metadata["field"] == f"parameters[{name}]"


def test_why_a_model_is_not_ready_can_be_read(oip: Oip) -> None:
    error = failure(oip.stub.ModelMetadata, pb.ModelMetadataRequest(name="broken"))

    assert "output probability differs from the card" in error.message
    assert error.metadata["model"] == "broken"


def test_a_message_over_the_limit_is_refused(oip: Oip) -> None:
    rows = np.zeros((1 << 18, 2), np.float32)

    with pytest.raises(grpc.RpcError) as caught:
        oip.stub.ModelInfer(
            request("arithmetic", {"a": ("FP32", rows), "b": ("FP32", rows)}), timeout=SECONDS
        )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_that_is_not_offered_is_unimplemented(oip: Oip) -> None:
    with sync_channel(oip.server.address, token=oip.token) as channel:
        logs: Any = channel.unary_unary("/inference.GRPCInferenceService/LogSettings")
        with pytest.raises(grpc.RpcError) as caught:
            logs(b"", timeout=SECONDS)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_callers_at_the_same_time_get_their_own_answers(oip: Oip) -> None:
    def ask(number: int) -> bool:
        array = np.full((1 + number % 5, 2), number, np.int64)
        message = request("id-int64", {"x": ("INT64", array)}, id=str(number))
        answer = oip.stub.ModelInfer(message, timeout=SECONDS)
        return answer.id == str(number) and answer.raw_output_contents[0] == array.tobytes()

    with ThreadPoolExecutor(16) as pool:
        own = list(pool.map(ask, range(400)))

    assert all(own)


def test_a_version_published_while_the_server_runs_is_picked_up(oip: Oip) -> None:
    publish = oip.repository.publish
    card = base_model_card()
    assert publish("hot", base_model(), card=card, lineage={}) == 1

    first = oip.stub.ModelReady(pb.ModelReadyRequest(name="hot"), timeout=SECONDS)

    assert first.ready
    brighter = base_model_card(divisor=510.0)
    assert publish("hot", base_model(divisor=510.0), card=brighter, lineage={}) == 2
    message = base_request()
    message.model_name = "hot"
    pause = threading.Event()
    while (answer := oip.stub.ModelInfer(message, timeout=SECONDS)).model_version == "1":
        pause.wait(0.01)
    assert answer.model_version == "2"
    metadata = oip.stub.ModelMetadata(pb.ModelMetadataRequest(name="hot"), timeout=SECONDS)
    assert list(metadata.versions) == ["1", "2"]


def test_requests_are_counted_under_tritons_names(oip: Oip) -> None:
    url = f"http://127.0.0.1:{oip.server.metrics_port}/metrics"

    def value(series: str) -> float:
        text = urllib.request.urlopen(url, timeout=SECONDS).read().decode()
        return next(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series)
        )

    success = 'nv_inference_request_success{model="arithmetic",version="1"}'
    rows = 'nv_inference_count{model="arithmetic",version="1"}'
    other = 'nv_inference_request_failure{model="arithmetic",reason="OTHER",version="1"}'
    before = [value(series) for series in (success, rows, other)]
    three = np.ones((3, 2), np.float32)

    good = request("arithmetic", {"a": ("FP32", three), "b": ("FP32", three)})
    oip.stub.ModelInfer(good, timeout=SECONDS)
    failure(oip.stub.ModelInfer, pb.ModelInferRequest(model_name="arithmetic"))

    after = [value(series) for series in (success, rows, other)]
    assert np.subtract(after, before).tolist() == [1, 3, 1]
