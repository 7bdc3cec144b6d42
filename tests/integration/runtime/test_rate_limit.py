"""Calls per second of each caller, at a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.server import RunningServer, serving_in_thread

RULES = {"/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True)}


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "tokens"
    tokens = {name: write_token(file, name=name, role=Role.VIEWER) for name in ("ann", "bob")}
    tokens["loop"] = write_token(file, name="loop", role=Role.VIEWER, limited=False)
    return tokens


@pytest.fixture
def running(
    echo: Any, config: ServerConfig, tokens: dict[str, str], tmp_path: Path
) -> Iterator[RunningServer]:
    limited = replace(
        config,
        anonymous_role="",
        tokens_file=str(tmp_path / "tokens"),
        rate_limit=0.01,
        rate_burst=3,
    )
    with serving_in_thread([echo.service()], limited, rules=RULES) as server:
        yield server


def codes(server: RunningServer, token: str, count: int) -> list[grpc.StatusCode]:
    channel: Any = sync_channel(server.address, token=token)
    with channel:
        call = channel.unary_unary("/tests.Echo/Unary")
        return [call.with_call(b"", timeout=20)[1].code() for _ in range(count)]


def test_over_the_limit_a_caller_is_told_when_to_try_again(
    running: RunningServer, tokens: dict[str, str]
) -> None:
    assert codes(running, tokens["ann"], 3) == [grpc.StatusCode.OK] * 3

    with pytest.raises(grpc.RpcError) as caught:
        codes(running, tokens["ann"], 1)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    error = domain_error(caught.value)
    assert error.reason == "ERROR_REASON_RATE_LIMITED"
    assert error.retry_seconds == pytest.approx(100, abs=10)


def test_one_callers_limit_is_nobody_elses(running: RunningServer, tokens: dict[str, str]) -> None:
    codes(running, tokens["ann"], 3)

    assert codes(running, tokens["bob"], 3) == [grpc.StatusCode.OK] * 3


def test_whom_the_limit_does_not_count_for_may_go_on(
    running: RunningServer, tokens: dict[str, str]
) -> None:
    assert codes(running, tokens["loop"], 20) == [grpc.StatusCode.OK] * 20


def test_health_is_always_answered(running: RunningServer, tokens: dict[str, str]) -> None:
    with sync_channel(running.address, token=tokens["ann"]) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answers = {health.Check(health_pb2.HealthCheckRequest()).status for _ in range(20)}

    assert answers == {health_pb2.HealthCheckResponse.SERVING}


def test_wrong_tokens_take_nothing_from_their_owners(
    running: RunningServer, tokens: dict[str, str]
) -> None:
    for _ in range(5):
        with pytest.raises(grpc.RpcError):
            codes(running, "wrong", 1)

    assert codes(running, tokens["ann"], 3) == [grpc.StatusCode.OK] * 3
