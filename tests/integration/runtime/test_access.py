"""Who gets in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.server import Service, serving_in_thread

RULES = {
    "/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True),
    "/tests.Echo/Curate": Rule(Role.CURATOR, anywhere=True, changes=True),
}
Connect = Callable[[str], Any]


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.jsonl"


@pytest.fixture
def tokens(tokens_file: Path) -> dict[str, str]:
    return {
        role.name.lower(): write_token(tokens_file, name=f"some {role.name.lower()}", role=role)
        for role in Role
    }


@pytest.fixture
def connect(
    echo: Any, config: ServerConfig, tokens_file: Path, tokens: dict[str, str]
) -> Iterator[Connect]:
    closed = replace(config, anonymous_role="", tokens_file=str(tokens_file))
    channels = []
    with serving_in_thread([echo.service()], closed, rules=RULES) as running:

        def open_channel(token: str) -> Any:
            channels.append(sync_channel(running.address, token=token))
            return channels[-1]

        yield open_channel
        for channel in channels:
            channel.close()


def call(channel: Any, method: str, **options: Any) -> bytes:
    answer: bytes = channel.unary_unary(f"/tests.Echo/{method}")(b"who", **options)
    return answer


def test_without_a_token_nobody_gets_in(connect: Connect) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(connect(""), "Unary")

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert domain_error(caught.value).reason == "ERROR_REASON_TOKEN_MISSING"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic abc", "wrong", ""])
def test_with_a_wrong_token_nobody_gets_in(connect: Connect, header: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(connect(""), "Unary", metadata=[("authorization", header)])

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert domain_error(caught.value).reason == "ERROR_REASON_TOKEN_INVALID"


def test_the_hash_of_a_token_is_no_token(connect: Connect, tokens: dict[str, str]) -> None:
    digest = hashlib.sha256(tokens["admin"].encode()).hexdigest()

    with pytest.raises(grpc.RpcError) as caught:
        call(connect(digest), "Unary")

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_owner_of_the_token_is_the_principal(connect: Connect, tokens: dict[str, str]) -> None:
    assert call(connect(tokens["annotator"]), "Unary") == b"some annotator ANNOTATOR"


@pytest.mark.parametrize("role", ["viewer", "annotator"])
def test_a_role_that_is_too_low_is_refused(
    connect: Connect, tokens: dict[str, str], role: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(connect(tokens[role]), "Curate")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert domain_error(caught.value).metadata == {
        "method": "/tests.Echo/Curate",
        "required_role": "curator",
        "role": role,
    }


@pytest.mark.parametrize("role", ["curator", "admin"])
def test_a_role_that_is_high_enough_gets_in(
    connect: Connect, tokens: dict[str, str], role: str
) -> None:
    assert call(connect(tokens[role]), "Curate")


def test_what_the_table_lacks_not_even_an_admin_may_call(
    connect: Connect, tokens: dict[str, str]
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(connect(tokens["admin"]), "Unlisted")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert domain_error(caught.value).reason == "ERROR_REASON_METHOD_WITHOUT_ROLE"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_health_and_reflection_need_no_token(connect: Connect, token: str) -> None:
    channel = connect(token)

    stubs: Any = (
        health_pb2_grpc.HealthStub(channel),
        reflection_pb2_grpc.ServerReflectionStub(channel),
    )
    health = stubs[0].Check(health_pb2.HealthCheckRequest())
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stubs[1].ServerReflectionInfo(iter([question]))

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert "tests.Echo" in [each.name for each in answer.list_services_response.service]


def test_a_changed_tokens_file_counts_at_once(
    connect: Connect, tokens: dict[str, str], tokens_file: Path
) -> None:
    channel = connect(tokens["viewer"])
    assert call(channel, "Unary")

    fresh = write_token(tokens_file, name="some viewer", role=Role.VIEWER)

    with pytest.raises(grpc.RpcError):
        call(channel, "Unary")
    assert call(connect(fresh), "Unary")


def test_a_broken_tokens_file_locks_nobody_out(
    connect: Connect, tokens: dict[str, str], tokens_file: Path
) -> None:
    tokens_file.write_text("oops")

    assert call(connect(tokens["viewer"]), "Unary")


def test_an_anonymous_role_lets_callers_in_without_a_token(echo: Any, config: ServerConfig) -> None:
    with (
        serving_in_thread([echo.service()], config, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        assert call(channel, "Unary") == b"anonymous VIEWER"
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Curate")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_server_that_nobody_could_call_does_not_start(config: ServerConfig) -> None:
    closed = replace(config, anonymous_role="")

    with pytest.raises(ConfigError, match="PARFOCAL_TOKENS_FILE"), serving_in_thread([], closed):
        pass


def test_a_malformed_tokens_file_stops_the_start_without_showing_its_text(
    config: ServerConfig, tokens_file: Path
) -> None:
    tokens_file.write_text(json.dumps({"name": "a", "sha256": "plain-secret", "role": "admin"}))
    closed = replace(config, tokens_file=str(tokens_file))

    with pytest.raises(ConfigError) as caught, serving_in_thread([Service((), print)], closed):
        pass

    assert "entry 1" in str(caught.value)
    assert "plain-secret" not in str(caught.value)
