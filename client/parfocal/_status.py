"""From gRPC statuses to the exceptions of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from parfocal._errors import (
    AccessError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ParfocalError,
    ServerError,
    UnavailableError,
    Violation,
)

_DETAILS = "grpc-status-details-bin"
_TOO_LARGE = "ERROR_REASON_MESSAGE_TOO_LARGE"

_KINDS: dict[grpc.StatusCode, type[ParfocalError]] = {
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
}


def error_from_call(error: grpc.RpcError) -> ParfocalError:
    """Return the exception that a failed call stands for; what is unknown is a `ServerError`."""
    call: Any = error
    code: grpc.StatusCode = call.code()
    message = call.details() or code.name.lower().replace("_", " ")
    reason, metadata = _error_info(call)
    kind = _KINDS.get(code, ServerError)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and (
        reason == _TOO_LARGE or "larger than max" in message
    ):
        # Trying again does not make a message smaller.
        kind, reason = InvalidRequestError, reason or _TOO_LARGE
    return kind(
        message, reason=reason, metadata=metadata, code=code.name, violations=_violations(call)
    )


def retry_seconds(error: grpc.RpcError) -> float | None:
    """Return when a failed call says that it may work, in seconds from now; None where not."""
    for packed in _details(error):
        info = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None


def _error_info(call: Any) -> tuple[str, dict[str, str]]:
    for packed in _details(call):
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return info.reason, dict(info.metadata)
    return "", {}


def _violations(call: Any) -> list[Violation]:
    failure = error_details_pb2.PreconditionFailure()
    for packed in _details(call):
        if packed.Unpack(failure):
            break
    return [Violation(each.subject, each.type, each.description) for each in failure.violations]


def _details(call: Any) -> Sequence[Any]:
    trailing = dict(call.trailing_metadata() or ())
    details: Sequence[Any] = status_pb2.Status.FromString(trailing.get(_DETAILS, b"")).details
    return details
