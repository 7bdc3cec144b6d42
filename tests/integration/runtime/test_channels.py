"""Calls from one service to another: token, request id, errors; and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from certificates import Authority
from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import aio_channel, domain_error, sync_channel
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.errors import DomainError, InvalidInput, Unavailable
from parfocal_runtime.request_id import current_request_id
from parfocal_runtime.server import RunningServer, Service, serving, serving_in_thread

SHAPES = ("Unary", "ServerStream", "ClientStream", "BidiStream")
ANYONE = Rule(Role.VIEWER, anywhere=True)
RULES = {f"/tests.Echo/{shape}": ANYONE for shape in SHAPES}


async def all_shapes(channel: Any) -> list[bytes]:
    """Ask in each of the four shapes who is calling."""

    async def requests() -> AsyncIterator[bytes]:
        yield b"who"

    unary = await channel.unary_unary("/tests.Echo/Unary")(b"who")
    streamed = [each async for each in channel.unary_stream("/tests.Echo/ServerStream")(b"who")]
    gathered = await channel.stream_unary("/tests.Echo/ClientStream")(requests())
    both = [each async for each in channel.stream_stream("/tests.Echo/BidiStream")(requests())]
    return [unary, streamed[-1], gathered, both[-1]]


@pytest.fixture
def closed(config: ServerConfig, tmp_path: Path) -> tuple[ServerConfig, str]:
    token = write_token(tmp_path / "tokens", name="loop", role=Role.CURATOR)
    return replace(config, anonymous_role="", tokens_file=str(tmp_path / "tokens")), token


def test_the_token_goes_with_every_shape_of_call(
    echo: Any, closed: tuple[ServerConfig, str]
) -> None:
    config, token = closed

    async def run() -> list[bytes]:
        async with (
            serving([echo.service()], config, rules=RULES) as running,
            aio_channel(running.address, token=token) as channel,
        ):
            return await all_shapes(channel)

    assert asyncio.run(run()) == [b"loop CURATOR"] * 4


def test_the_token_goes_with_calls_from_threads(
    echo: Any, closed: tuple[ServerConfig, str]
) -> None:
    config, token = closed
    with serving_in_thread([echo.service()], config, rules=RULES) as running:
        channel: Any = sync_channel(running.address, token=token)
        with channel:
            answers = [
                channel.unary_unary("/tests.Echo/Unary")(b"who"),
                list(channel.unary_stream("/tests.Echo/ServerStream")(b"who"))[-1],
                channel.stream_unary("/tests.Echo/ClientStream")(iter([b"who"])),
                list(channel.stream_stream("/tests.Echo/BidiStream")(iter([b"who"])))[-1],
            ]

    assert answers == [b"loop CURATOR"] * 4


def test_a_new_channel_reaches_a_server_that_is_back(echo: Any, config: ServerConfig) -> None:
    with serving_in_thread([echo.service()], config, rules=RULES) as running:
        older: Any = sync_channel(running.address)
        older.unary_unary("/tests.Echo/Unary")(b"who")
    with pytest.raises(grpc.RpcError):
        older.unary_unary("/tests.Echo/Unary")(b"who")

    again = replace(config, port=int(running.address.rpartition(":")[2]))
    with serving_in_thread([echo.service()], again, rules=RULES):
        newer: Any = sync_channel(running.address)
        with older, newer:
            answer = newer.unary_unary("/tests.Echo/Unary")(b"who")

    assert answer == b"anonymous VIEWER"


class Relay:
    """A service that asks another one."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def ask(self, request: bytes, context: Any) -> bytes:
        channel: Any
        async with aio_channel(self._target) as channel:
            answer: bytes = await channel.unary_unary("/tests.Echo/Unary")(request)
            return answer + current_request_id().encode()

    def service(self) -> Service:
        handlers: dict[str, Any] = {"Ask": grpc.unary_unary_rpc_method_handler(self.ask)}
        handler = grpc.method_handlers_generic_handler("tests.Relay", handlers)
        return Service(("tests.Relay",), lambda server: server.add_generic_rpc_handlers((handler,)))


@pytest.fixture
def relay(server: RunningServer, config: ServerConfig) -> Any:
    with (
        serving_in_thread(
            [Relay(server.address).service()], config, rules={"/tests.Relay/Ask": ANYONE}
        ) as running,
        sync_channel(running.address) as channel,
    ):
        yield channel.unary_unary("/tests.Relay/Ask")


def test_the_request_id_goes_on_to_the_next_service(relay: Any, echo: Any) -> None:
    answer = relay(b"x", metadata=[("x-request-id", "r-42")])

    assert answer == b"xr-42"
    assert echo.request_ids == ["r-42"]


def test_the_error_of_another_service_keeps_its_code_and_reason(relay: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        relay(b"fail")

    error = domain_error(caught.value)
    assert type(error) is InvalidInput
    assert error.metadata["field"] == "a.b"


def test_the_failure_of_another_service_is_internal(relay: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        relay(b"bug")

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert type(domain_error(caught.value)) is DomainError


def test_a_service_that_does_not_answer_is_unavailable(config: ServerConfig) -> None:
    with serving_in_thread([], config) as running:
        address = running.address

    channel: Any = sync_channel(address)
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tests.Echo/Unary")(b"x")

    error = domain_error(caught.value)
    assert type(error) is Unavailable
    assert error.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


def test_tls_speaks_only_to_those_who_trust_it(
    echo: Any, config: ServerConfig, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, name="theirs")
    own = ours.certificate("server", server=True)
    secure = replace(config, tls_certificate_file=own.chain, tls_key_file=own.key)
    with serving_in_thread([echo.service()], secure, rules=RULES) as running:
        for ca_file in (theirs.ca_file, None):
            stranger: Any = sync_channel(running.address, ca_file=ca_file)
            with stranger, pytest.raises(grpc.RpcError) as caught:
                stranger.unary_unary("/tests.Echo/Unary")(b"x")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

        friend: Any = sync_channel(running.address, ca_file=ours.ca_file)
        with friend:
            assert friend.unary_unary("/tests.Echo/Unary")(b"x") == b"x"


def test_with_an_authority_for_clients_they_must_show_a_certificate(
    echo: Any, config: ServerConfig, tmp_path: Path
) -> None:
    servers, clients = Authority(tmp_path), Authority(tmp_path, name="clients")
    own, mine = servers.certificate("server", server=True), clients.certificate("client")
    mutual = replace(
        config,
        tls_certificate_file=own.chain,
        tls_key_file=own.key,
        tls_client_ca_file=clients.ca_file,
    )
    with serving_in_thread([echo.service()], mutual, rules=RULES) as running:
        stranger: Any = sync_channel(running.address, ca_file=servers.ca_file)
        with stranger, pytest.raises(grpc.RpcError):
            stranger.unary_unary("/tests.Echo/Unary")(b"x")

        credentials = grpc.ssl_channel_credentials(
            *(Path(file).read_bytes() for file in (servers.ca_file, mine.key, mine.chain))
        )
        friend: Any = grpc.secure_channel(running.address, credentials)
        with friend:
            assert friend.unary_unary("/tests.Echo/Unary")(b"x") == b"x"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_certificate_file": "x"}, "must be set together"),
        ({"tls_key_file": "x"}, "must be set together"),
        ({"tls_certificate_file": "/none", "tls_key_file": "/none"}, "cannot read /none"),
    ],
)
def test_half_of_tls_stops_the_start(
    config: ServerConfig, settings: dict[str, Any], message: str
) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        serving_in_thread([], replace(config, **settings)),
    ):
        pass
