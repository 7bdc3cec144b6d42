from __future__ import annotations

import grpc
import pytest
from prometheus_client import generate_latest

from parfocal_runtime.metrics import GrpcMetrics, call_type, go_code, new_registry

# As google.golang.org/grpc/codes prints them.
GO_CODES = {
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
}


def test_codes_are_called_as_in_go() -> None:
    assert {go_code(code) for code in grpc.StatusCode} == GO_CODES


@pytest.mark.parametrize(
    ("client", "server", "name"),
    [
        (False, False, "unary"),
        (False, True, "server_stream"),
        (True, False, "client_stream"),
        (True, True, "bidi_stream"),
    ],
)
def test_kinds_are_called_as_in_go(client: bool, server: bool, name: str) -> None:
    assert call_type(client_streams=client, server_streams=server) == name


def test_a_method_is_there_at_zero_before_its_first_call() -> None:
    registry = new_registry()

    GrpcMetrics(registry).method("/a.B/C", "unary")

    lines = generate_latest(registry).decode().splitlines()
    labels = 'grpc_method="C",grpc_service="a.B",grpc_type="unary"'
    assert f"grpc_server_started_total{{{labels}}} 0.0" in lines
    for code in GO_CODES:
        assert f'grpc_server_handled_total{{grpc_code="{code}",{labels}}} 0.0' in lines
    assert sum("grpc_server_handling_seconds_bucket" in line for line in lines) == 12


def test_the_metrics_of_two_servers_are_apart() -> None:
    registries = [new_registry(), new_registry()]
    first, _ = (GrpcMetrics(registry).method("/a.B/C", "unary") for registry in registries)

    first.finished(grpc.StatusCode.NOT_FOUND, 0.02)

    seen = [
        registry.get_sample_value(
            "grpc_server_handled_total",
            {
                "grpc_code": "NotFound",
                "grpc_method": "C",
                "grpc_service": "a.B",
                "grpc_type": "unary",
            },
        )
        for registry in registries
    ]
    assert seen == [1.0, 0.0]
