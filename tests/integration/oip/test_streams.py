"""Streams of inference requests, on a real server."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from oip_requests import SECONDS, base_request, numbers_request
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.channels import domain_error, sync_channel

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def streamed(
    oip: Oip, requests: list[pb.ModelInferRequest]
) -> list[tuple[str, str, pb.ModelInferResponse]]:
    """The error, the id and the answer to each request."""
    return [
        (answer.error_message, answer.infer_response.id, answer.infer_response)
        for answer in oip.stub.ModelStreamInfer(iter(requests), timeout=SECONDS)
    ]


def first_number(answer: pb.ModelInferResponse) -> int:
    return int(np.frombuffer(answer.raw_output_contents[0], "<i8")[0])


def test_answers_come_in_the_order_of_the_requests(oip: Oip) -> None:
    # Large and small ones side by side: the small ones are ready first.
    requests = [
        numbers_request(number, rows=2000 if number % 3 == 0 else 1, id=f"no-{number}")
        for number in range(120)
    ]

    answers = streamed(oip, requests)

    assert [id for _, id, _ in answers] == [f"no-{number}" for number in range(120)]
    assert [first_number(answer) for _, _, answer in answers] == list(range(120))
    assert {error for error, _, _ in answers} == {""}


def test_a_request_that_fails_is_told_in_its_place_and_the_stream_goes_on(oip: Oip) -> None:
    wrong = numbers_request(2, id="wrong")
    wrong.inputs[0].datatype = "FP32"
    late = numbers_request(5, id="late")
    late.parameters["timeout"].string_param = "soon"

    answers = streamed(
        oip,
        [
            numbers_request(1, id="first"),
            wrong,
            base_request(model="none", id="unknown"),
            base_request(model="broken", id="broken"),
            late,
            numbers_request(9, id="last"),
        ],
    )

    assert [id for _, id, _ in answers] == ["first", "wrong", "unknown", "broken", "late", "last"]
    assert [error.rpartition("(")[2] for error, _, _ in answers] == [
        "",
        "ERROR_REASON_DTYPE_MISMATCH)",
        "ERROR_REASON_MODEL_NOT_FOUND)",
        "ERROR_REASON_MODEL_SELF_TEST_FAILED)",
        "ERROR_REASON_INVALID_FIELD)",
        "",
    ]
    assert answers[1][0].startswith("input x must be INT64, got FP32")
    assert not answers[1][2].outputs
    assert first_number(answers[-1][2]) == 9


def test_a_stream_may_name_several_models(oip: Oip) -> None:
    answers = streamed(oip, [base_request(51), numbers_request(7)])

    assert [answer.model_name for _, _, answer in answers] == ["base", "id-int64"]


def test_a_stream_without_requests_ends_in_good_order(oip: Oip) -> None:
    assert streamed(oip, []) == []


def test_an_answer_comes_while_the_stream_is_open(oip: Oip) -> None:
    coming: queue.Queue[pb.ModelInferRequest | None] = queue.Queue()
    requests: Iterator[Any] = iter(coming.get, None)
    call = oip.stub.ModelStreamInfer(requests, timeout=SECONDS)

    for number in range(5):
        coming.put(numbers_request(number))
        assert first_number(next(call).infer_response) == number
    coming.put(None)

    assert list(call) == []


def test_bytes_that_are_no_message_end_the_stream_after_the_earlier_answers(oip: Oip) -> None:
    good = numbers_request(3, id="good").SerializeToString()
    with sync_channel(oip.server.address, token=oip.token) as channel:
        call: Any = channel.stream_stream(
            STREAM, response_deserializer=pb.ModelStreamInferResponse.FromString
        )
        answers = call(iter([good, good, b"\xff\xff", good]), timeout=SECONDS)

        found = [next(answers).infer_response.id, next(answers).infer_response.id]
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)

    assert found == ["good", "good"]
    assert domain_error(caught.value).reason == "ERROR_REASON_MALFORMED_MESSAGE"


def test_a_stream_is_for_callers_with_a_token(oip: Oip) -> None:
    with sync_channel(oip.server.address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ModelStreamInfer(iter([numbers_request(1)]), timeout=SECONDS))

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_caller_who_goes_away_in_the_middle_leaves_a_server_that_serves(oip: Oip) -> None:
    for _ in range(5):
        call = oip.stub.ModelStreamInfer(
            (numbers_request(number, rows=500) for number in range(10_000)), timeout=SECONDS
        )
        next(call)
        call.cancel()

    assert first_number(streamed(oip, [numbers_request(4)])[0][2]) == 4
