"""A running server: health, limits, metrics, reflection, ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import Gauge

from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role
from parfocal_runtime.channels import domain_error
from parfocal_runtime.channels import sync_channel as typed_channel
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.server import RunningServer, serving_in_thread

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNARY = {"/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True)}


def open_channel(address: str) -> Any:
    return typed_channel(address)


def health(channel: Any, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub(channel).Check(request, timeout=10).status)


def stub(channel: Any) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def metrics(server: RunningServer) -> list[str]:
    with urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
        return list(answer.read().decode().splitlines())


@pytest.mark.parametrize("service", ["", "tests.Echo"])
def test_a_started_server_is_healthy(channel: Any, service: str) -> None:
    assert health(channel, service) == SERVING


def test_the_health_of_an_unknown_service_is_not_found(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health(channel, "tests.Unknown")

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_follows_the_readiness_of_each_service(echo: Any, config: ServerConfig) -> None:
    ready = [True]
    service = echo.service(ready=lambda: ready[0])
    with (
        serving_in_thread([service], config, rules=UNARY) as running,
        open_channel(running.address) as channel,
    ):
        request = health_pb2.HealthCheckRequest(service="tests.Echo")
        watch = stub(channel).Watch(request, timeout=30)
        seen = [next(watch).status]
        ready[0] = False
        seen.append(next(watch).status)
        whole = health(channel)
        ready[0] = True
        seen.append(next(watch).status)

    assert seen == [SERVING, NOT_SERVING, SERVING]
    assert whole == NOT_SERVING


def test_a_readiness_that_cannot_be_told_is_no_readiness(echo: Any, config: ServerConfig) -> None:
    service = echo.service(ready=lambda: 1 / 0 > 0)
    with (
        serving_in_thread([service], config) as running,
        open_channel(running.address) as channel,
    ):
        assert health(channel) == NOT_SERVING


def test_a_failing_start_stops_what_was_opened(echo: Any, config: ServerConfig) -> None:
    stopped = []

    async def start() -> None:
        raise OSError("no database")

    async def stop() -> None:
        stopped.append(True)

    service = echo.service(start=start, stop=stop)
    with pytest.raises(OSError, match="no database"), serving_in_thread([service], config):
        pass

    assert stopped == [True]


def test_a_message_over_the_limit_is_refused(echo: Any, config: ServerConfig) -> None:
    small = replace(config, max_message_bytes=10_000)
    with (
        serving_in_thread([echo.service()], small, rules=UNARY) as running,
        open_channel(running.address) as channel,
    ):
        call = channel.unary_unary("/tests.Echo/Unary")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x" * 10_001)
        fits = call(b"x" * 10_000)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert domain_error(caught.value).reason == "ERROR_REASON_MESSAGE_TOO_LARGE"
    assert len(fits) == 10_000


def test_messages_of_many_mebibytes_pass_by_default(echo: Any, config: ServerConfig) -> None:
    with (
        serving_in_thread([echo.service()], config, rules=UNARY) as running,
        open_channel(running.address) as channel,
    ):
        answer = channel.unary_unary("/tests.Echo/Unary")(bytes(20 << 20))

    assert len(answer) == 20 << 20


def test_more_calls_than_allowed_are_refused(echo: Any, config: ServerConfig) -> None:
    one = replace(config, max_concurrent_rpcs=1)
    with (
        serving_in_thread([echo.service()], one, rules=UNARY) as running,
        open_channel(running.address) as channel,
    ):
        call = channel.unary_unary("/tests.Echo/Unary")
        first = call.future(b"wait")
        assert echo.entered.wait(10)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x")
        first.cancel()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_taken_port_stops_the_start(server: RunningServer, config: ServerConfig) -> None:
    port = int(server.address.rpartition(":")[2])

    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"),
        serving_in_thread([], replace(config, port=port)),
    ):
        pass


def test_the_metrics_of_calls_have_the_names_of_go(server: RunningServer, channel: Any) -> None:
    unary = channel.unary_unary("/tests.Echo/Unary")
    unary(b"x")
    for request in (b"fail", b"bug"):
        with pytest.raises(grpc.RpcError):
            unary(request)
    list(channel.unary_stream("/tests.Echo/ServerStream")(b"x"))
    list(channel.stream_stream("/tests.Echo/BidiStream")(iter([b"a", b"b", b"c"])))

    lines = metrics(server)

    def labels(method: str, kind: str, code: str = "") -> str:
        before = f'grpc_code="{code}",' if code else ""
        return f'{{{before}grpc_method="{method}",grpc_service="tests.Echo",grpc_type="{kind}"}}'

    assert {
        f"grpc_server_started_total{labels('Unary', 'unary')} 3.0",
        f"grpc_server_handled_total{labels('Unary', 'unary', 'OK')} 1.0",
        f"grpc_server_handled_total{labels('Unary', 'unary', 'InvalidArgument')} 1.0",
        f"grpc_server_handled_total{labels('Unary', 'unary', 'Internal')} 1.0",
        f"grpc_server_handled_total{labels('Unary', 'unary', 'DeadlineExceeded')} 0.0",
        f"grpc_server_msg_received_total{labels('Unary', 'unary')} 3.0",
        f"grpc_server_msg_sent_total{labels('Unary', 'unary')} 1.0",
        f"grpc_server_handling_seconds_count{labels('Unary', 'unary')} 3.0",
        f"grpc_server_msg_sent_total{labels('ServerStream', 'server_stream')} 2.0",
        f"grpc_server_msg_received_total{labels('BidiStream', 'bidi_stream')} 3.0",
        f"grpc_server_msg_sent_total{labels('BidiStream', 'bidi_stream')} 3.0",
    } <= set(lines)
    assert not [line for line in lines if "_created" in line]


def test_methods_with_a_descriptor_are_there_at_zero(server: RunningServer) -> None:
    assert (
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Watch",'
        'grpc_service="grpc.health.v1.Health",grpc_type="server_stream"} 0.0'
    ) in metrics(server)


def test_services_bring_metrics_of_their_own(echo: Any, config: ServerConfig) -> None:
    pool = Gauge("parfocal_pool", "Candidates nobody looked at.", registry=None)
    pool.set(7)
    for _ in range(2):
        with serving_in_thread([echo.service(collectors=(pool,))], config) as running:
            assert "parfocal_pool 7.0" in metrics(running)


@pytest.fixture
def without_metrics(echo: Any, config: ServerConfig) -> Iterator[RunningServer]:
    with serving_in_thread([echo.service()], replace(config, metrics_port=-1)) as running:
        yield running


def test_metrics_can_be_off(without_metrics: RunningServer) -> None:
    assert without_metrics.metrics_port == -1


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_under_both_names(channel: Any, version: str) -> None:
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    question = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="grpc.health.v1.Health"
    )

    (answer,) = ask(iter([question]))

    assert answer.file_descriptor_response.file_descriptor_proto
