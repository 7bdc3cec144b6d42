"""What a caller hears when something fails, in each of the four shapes of methods."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.server import RunningServer

Call = Callable[[Any, bytes], object]


def unary(channel: Any, request: bytes) -> object:
    return channel.unary_unary("/tests.Echo/Unary")(request)


def server_stream(channel: Any, request: bytes) -> object:
    return list(channel.unary_stream("/tests.Echo/ServerStream")(request))


def client_stream(channel: Any, request: bytes) -> object:
    return channel.stream_unary("/tests.Echo/ClientStream")(iter([b"a", request]))


def bidi_stream(channel: Any, request: bytes) -> object:
    return list(channel.stream_stream("/tests.Echo/BidiStream")(iter([b"a", request])))


SHAPES = [unary, server_stream, client_stream, bidi_stream]
each_shape = pytest.mark.parametrize("call", SHAPES, ids=lambda shape: shape.__name__)


def details(error: Any) -> list[bytes]:
    metadata = error.trailing_metadata()
    return [value for key, value in metadata if key == "grpc-status-details-bin"]


@each_shape
def test_messages_pass_in_order(channel: Any, call: Call) -> None:
    expected: dict[Call, object] = {
        unary: b"x",
        server_stream: [b"first", b"x"],
        client_stream: b"ax",
        bidi_stream: [b"a", b"x"],
    }

    assert call(channel, b"x") == expected[call]


@each_shape
def test_a_domain_error_arrives_with_code_reason_and_field(channel: Any, call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, b"fail")

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "bad ü"
    (packed,) = details(caught.value)
    status = status_pb2.Status.FromString(packed)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert info.reason == "ERROR_REASON_INVALID_FIELD"
    assert info.domain == "parfocal.dev"
    assert dict(info.metadata) == {"field": "a.b", "value": "3"}
    assert bad.field_violations[0].field == "a.b"


@each_shape
def test_an_unforeseen_failure_tells_nothing_but_its_request_id(
    channel: Any, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as caught:
        call(channel, b"bug")

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error"
    (packed,) = details(caught.value)
    assert b"hunter2" not in packed
    failure = domain_error(caught.value)
    assert failure.reason == "ERROR_REASON_INTERNAL"
    assert len(failure.metadata["request_id"]) == 32


@each_shape
def test_a_method_that_is_not_implemented_says_so(channel: Any, call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, b"later")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@each_shape
def test_a_deliberate_abort_keeps_its_status(channel: Any, call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, b"abort")

    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert caught.value.details() == "deliberate"


@pytest.mark.parametrize("method", ["/tests.Echo/None", "/tests.None/Unary", "/"])
def test_an_unknown_method_is_unimplemented(channel: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_bad_input(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, b"\xff")

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert domain_error(caught.value).reason == "ERROR_REASON_MALFORMED_MESSAGE"


def test_an_error_comes_back_as_the_domain_error_it_was(server: RunningServer) -> None:
    channel = sync_channel(server.address)
    with channel, pytest.raises(grpc.RpcError) as caught:
        unary(channel, b"fail")

    error = domain_error(caught.value)
    assert type(error) is InvalidInput
    assert error.reason == "ERROR_REASON_INVALID_FIELD"
    assert error.message == "bad ü"
    assert error.metadata == {"field": "a.b", "value": "3"}


@each_shape
def test_the_request_id_of_the_caller_comes_back(channel: Any, call: Call) -> None:
    headers = [("x-request-id", "round-7/attempt:2")]

    answer = channel.unary_stream("/tests.Echo/ServerStream")(b"x", metadata=headers)
    list(answer)
    failing = channel.unary_unary("/tests.Echo/Unary").future(b"bug", metadata=headers)

    assert ("x-request-id", "round-7/attempt:2") in answer.trailing_metadata()
    assert ("x-request-id", "round-7/attempt:2") in failing.trailing_metadata()


ODD_IDS = [[], [("x-request-id", "with space")], [("x-request-id", "a" * 200)]]


@pytest.mark.parametrize("sent", ODD_IDS)
def test_a_missing_or_odd_request_id_is_replaced(channel: Any, sent: list[tuple[str, str]]) -> None:
    _, call = channel.unary_unary("/tests.Echo/Unary").with_call(b"x", metadata=sent)

    (made,) = [value for key, value in call.trailing_metadata() if key == "x-request-id"]
    assert len(made) == 32
