"""A real server process: how it starts, and how it ends when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parfocal_runtime.channels import domain_error, sync_channel

SCRIPT = Path(__file__).with_name("echo_process.py")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Process:
    """The process, its log, and a channel to it."""

    def __init__(self, **settings: str) -> None:
        # A process that tests started may know our packages by path only.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **environment,
                "PARFOCAL_ECHO_PORT": "0",
                "PARFOCAL_ANONYMOUS_ROLE": "viewer",
                **settings,
            },
        )
        self.log: list[dict[str, Any]] = []
        self.channel: Any = sync_channel(self.logged("listening")["address"])
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def logged(self, event: str) -> dict[str, Any]:
        """Return the next line of the log that is about `event`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            assert line.startswith("{"), line + self.process.stderr.read()
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"{event!r} was not logged")

    def go(self) -> None:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)

    def wait_until_ready(self) -> None:
        watch = self.health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert any(each.status == SERVING for each in watch)
        watch.cancel()

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def rest(self) -> list[str]:
        """Return the events of the log from here to the end of the process."""
        assert self.process.stderr is not None
        return [json.loads(line)["event"] for line in self.process.stderr]


@pytest.fixture
def settings() -> dict[str, str]:
    return {}


@pytest.fixture
def server(settings: dict[str, str]) -> Iterator[Process]:
    running = Process(**settings)
    with running.process as process:
        try:
            yield running
        finally:
            running.channel.close()
            process.kill()


def test_a_starting_server_is_alive_but_not_ready(server: Process) -> None:
    assert server.health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        server.channel.unary_unary("/tests.Echo/Hold")(b"")
    server.go()
    server.wait_until_ready()

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert domain_error(caught.value).reason == "ERROR_REASON_SERVICE_NOT_READY"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_starting_ends_the_process_in_good_order(
    server: Process, number: signal.Signals
) -> None:
    server.tell(number)

    assert "service stopped" in server.rest()
    assert server.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_in_progress_is_finished_before_the_process_ends(
    server: Process, number: signal.Signals
) -> None:
    server.go()
    server.wait_until_ready()
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    answers = server.channel.stream_stream("/tests.Echo/BidiStream")(iter(requests.get, None))
    requests.put(b"before")
    assert next(answers) == b"before"

    server.tell(number)
    server.logged("draining")
    requests.put(b"after")
    assert next(answers) == b"after"
    requests.put(None)

    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK
    assert server.rest() == ["service stopped", "stopped"]
    assert server.process.wait(30) == 0


def test_watches_hear_of_the_end_and_do_not_delay_it(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    watch = server.channel.unary_stream("/tests.Echo/WatchForever")(b"x")
    assert next(watch) == b"x"
    health = server.health.Watch(health_pb2.HealthCheckRequest())
    assert next(health).status == SERVING

    server.tell(signal.SIGTERM)

    assert next(health).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert domain_error(caught.value).reason == "ERROR_REASON_SHUTTING_DOWN"
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("settings", [{"PARFOCAL_DRAIN_SECONDS": "30"}])
def test_while_draining_health_says_so_and_calls_are_still_taken(server: Process) -> None:
    server.go()
    server.wait_until_ready()

    server.tell(signal.SIGTERM)
    server.logged("draining")

    assert server.health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    echo = server.channel.stream_stream("/tests.Echo/BidiStream")
    assert list(echo(iter([b"x"]))) == [b"x"]


@pytest.mark.parametrize("settings", [{"PARFOCAL_GRACE_SECONDS": "0.2"}])
def test_work_that_outlives_the_grace_time_is_told_to_stop(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    call = server.channel.unary_unary("/tests.Echo/Hold").future(b"")
    server.logged("holding")

    server.tell(signal.SIGTERM)

    assert call.code() is not grpc.StatusCode.OK
    assert server.logged("let go")["told"] is True
    assert server.process.wait(30) == 0


def test_a_second_signal_does_not_wait_for_calls(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    call = server.channel.unary_unary("/tests.Echo/Hold").future(b"")
    server.logged("holding")

    server.tell(signal.SIGTERM)
    server.logged("draining")
    server.tell(signal.SIGTERM)

    assert call.code() is not grpc.StatusCode.OK
    assert server.process.wait(10) == 0


def test_a_vanished_caller_stops_the_work(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    call = server.channel.unary_unary("/tests.Echo/Hold").future(b"")
    server.logged("holding")

    call.cancel()

    assert server.logged("let go")["told"] is True


def test_a_deadline_stops_the_work(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    call = server.channel.unary_unary("/tests.Echo/Hold").future(b"", timeout=1)
    server.logged("holding")

    assert server.logged("let go")["told"] is True
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_every_line_of_the_log_is_json_and_names_its_request(server: Process) -> None:
    server.go()
    server.wait_until_ready()
    call = server.channel.unary_unary("/tests.Echo/Hold")
    headers = [("x-request-id", "r-1"), ("authorization", "Bearer s3cr3t")]
    future = call.future(b"", metadata=headers)
    line = server.logged("holding")
    future.cancel()

    assert line["request_id"] == "r-1"
    assert line["method"] == "/tests.Echo/Hold"
    assert line["service"] == "echo"
    assert line["level"] == "info"
    assert "s3cr3t" not in json.dumps(server.log)
