from __future__ import annotations

from typing import Any

import grpc
import pytest

from parfocal_loop.calls import trouble_of
from parfocal_runtime.errors import (
    Cancelled,
    DomainError,
    Exhausted,
    InvalidInput,
    NotFound,
    Unavailable,
    WrongState,
)
from parfocal_runtime.status import DETAILS_KEY, details_of, status_code


class Failed(grpc.RpcError):
    """A call that failed, as gRPC raises it; a real one needs a server that fails so."""

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes | None = None) -> None:
        self._code, self._message = code, message
        self._metadata = ((DETAILS_KEY, details),) if details is not None else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> Any:
        return self._metadata


def told(error: DomainError) -> Failed:
    return Failed(status_code(error), error.message, details_of(error))


@pytest.mark.parametrize(
    ("error", "passes", "is_final"),
    [
        (Unavailable("ERROR_REASON_DEPENDENCY_UNAVAILABLE", "no store"), True, False),
        (Exhausted("ERROR_REASON_STORE_FULL", "full"), True, False),
        (Cancelled("ERROR_REASON_CANCELLED", "the server stops"), True, False),
        (NotFound("ERROR_REASON_MODEL_NOT_FOUND", "no model"), False, True),
        (InvalidInput("ERROR_REASON_BOX_OUTSIDE_IMAGE", "outside"), False, True),
        (InvalidInput("ERROR_REASON_INVALID_ARTIFACT", "damaged"), False, False),
        (WrongState("ERROR_REASON_MODEL_NOT_READY", "not finite"), False, False),
        (DomainError("ERROR_REASON_INTERNAL", "oops"), False, False),
    ],
)
def test_what_the_service_says_is_sorted(error: DomainError, passes: bool, is_final: bool) -> None:
    trouble = trouble_of(told(error))

    assert (trouble.reason, trouble.message) == (error.reason, error.message)
    assert (trouble.passes, trouble.is_final) == (passes, is_final)


def test_a_replica_that_was_lost_counts_against_the_block_that_it_was_at() -> None:
    trouble = trouble_of(Failed(grpc.StatusCode.UNAVAILABLE, "Socket closed"))

    assert not trouble.passes
    assert not trouble.is_final
    assert "lost" in trouble.message
