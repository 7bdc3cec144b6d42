"""Which gRPC status each domain error is, and how its reason travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from parfocal_runtime.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DomainError,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Violation,
    WrongState,
)

DOMAIN = "parfocal.dev"
"""The `domain` of every `google.rpc.ErrorInfo`."""

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries a `google.rpc.Status`."""

INTERNAL_REASON = "ERROR_REASON_INTERNAL"
INTERNAL_MESSAGE = "internal error"

STATUS_CODES: dict[type[DomainError], StatusCode] = {
    AlreadyExists: StatusCode.ALREADY_EXISTS,
    Cancelled: StatusCode.CANCELLED,
    Conflict: StatusCode.ABORTED,
    DomainError: StatusCode.INTERNAL,
    Exhausted: StatusCode.RESOURCE_EXHAUSTED,
    InvalidInput: StatusCode.INVALID_ARGUMENT,
    NotFound: StatusCode.NOT_FOUND,
    PermissionDenied: StatusCode.PERMISSION_DENIED,
    TimedOut: StatusCode.DEADLINE_EXCEEDED,
    Unauthenticated: StatusCode.UNAUTHENTICATED,
    Unavailable: StatusCode.UNAVAILABLE,
    WrongState: StatusCode.FAILED_PRECONDITION,
}

# Clients refuse more than 8 KiB of metadata, in which the details are repeated as base64.
_LONGEST_MESSAGE = 1000
_LONGEST_VALUE = 256
_MOST_VALUES = 8
_MOST_BYTES = 5000
_LEFT_OUT = "violations_left_out"


def status_code(error: DomainError) -> StatusCode:
    """Return the code of the nearest class of `error` in the table."""
    return next(STATUS_CODES[cls] for cls in type(error).__mro__ if cls in STATUS_CODES)


def message_of(error: DomainError) -> str:
    """Return the message as it may travel: encodable and of bounded length."""
    return _text(error.message, _LONGEST_MESSAGE)


def details_of(error: DomainError) -> bytes:
    """Return the serialised `google.rpc.Status` of an error.

    It holds an `ErrorInfo`; a `BadRequest` where the error names the field of the request at fault;
    a `RetryInfo` where it says when to try again; and a `PreconditionFailure` where it names
    several things at fault. If those are too many to travel, the first are sent, and
    `violations_left_out` in the metadata says how many are not.
    """
    message = message_of(error)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={
            _text(key, _LONGEST_VALUE): _text(value, _LONGEST_VALUE)
            for key, value in list(error.metadata.items())[:_MOST_VALUES]
        },
    )
    details: list[Message] = [info]
    if isinstance(error, InvalidInput) and "field" in error.metadata:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_text(error.metadata["field"], _LONGEST_VALUE), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        taken = sum(detail.ByteSize() for detail in details) + len(message.encode())
        failure = _precondition_failure(error.violations, most_bytes=_MOST_BYTES - taken)
        details.append(failure)
        if left_out := len(error.violations) - len(failure.violations):
            info.metadata[_LEFT_OUT] = str(left_out)
    return _packed(status_code(error), message, details)


def internal_details(request_id: str) -> bytes:
    """Return the serialised `google.rpc.Status` of a failure that nobody foresaw."""
    info = error_details_pb2.ErrorInfo(
        reason=INTERNAL_REASON, domain=DOMAIN, metadata={"request_id": request_id}
    )
    return _packed(StatusCode.INTERNAL, INTERNAL_MESSAGE, [info])


def error_from_status(code: StatusCode, message: str, details: bytes | None) -> DomainError:
    """Return the domain error that another service's answer stands for.

    A code outside the table is `Unavailable`, and so is a DEADLINE_EXCEEDED of gRPC's own, which
    tells nothing of what was done; INTERNAL, UNKNOWN, DATA_LOSS and UNIMPLEMENTED, which trying
    again does not mend, are a plain `DomainError`.
    """
    is_foreign = code is StatusCode.DEADLINE_EXCEEDED and not details
    kind = Unavailable if is_foreign else _KINDS.get(code, Unavailable)
    error = kind(_REASONS.get(kind, INTERNAL_REASON), message)
    for packed in status_pb2.Status.FromString(details or b"").details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        failure = error_details_pb2.PreconditionFailure()
        if packed.Unpack(info):
            error.reason = info.reason or error.reason
            error.metadata = dict(info.metadata)
        elif packed.Unpack(retry):
            error.retry_after(retry.retry_delay.ToNanoseconds() / 1e9)
        elif packed.Unpack(failure):
            error.violations = tuple(
                Violation(each.subject, each.type, each.description) for each in failure.violations
            )
    return error


_KINDS: dict[StatusCode, type[DomainError]] = {
    **{code: cls for cls, code in STATUS_CODES.items()},
    StatusCode.OUT_OF_RANGE: InvalidInput,
    StatusCode.UNKNOWN: DomainError,
    StatusCode.DATA_LOSS: DomainError,
    StatusCode.UNIMPLEMENTED: DomainError,
}

# For answers without a reason: they come from gRPC itself, or from what stands in between.
_REASONS: dict[type[DomainError], str] = {
    Cancelled: "ERROR_REASON_CANCELLED",
    Exhausted: "ERROR_REASON_MESSAGE_TOO_LARGE",
    Unavailable: "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
}


def _precondition_failure(violations: Sequence[Violation], *, most_bytes: int) -> Any:
    failure = error_details_pb2.PreconditionFailure()
    for each in violations:
        failure.violations.add(
            type=_text(each.reason, _LONGEST_VALUE),
            subject=_text(each.subject, _LONGEST_VALUE),
            description=_text(each.description, _LONGEST_VALUE),
        )
        if failure.ByteSize() > most_bytes:
            del failure.violations[-1]
            break
    return failure


def _packed(code: StatusCode, message: str, details: Sequence[Message]) -> bytes:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())


def _text(value: str, longest: int) -> str:
    text = value.encode("utf-8", "replace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"
