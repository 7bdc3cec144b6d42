"""What a call can fail with.

ParfocalError
├── InvalidRequestError   the request can never work as it stands
├── NotFoundError         the named thing does not exist
├── ConflictError         it exists already, changed in between, or is in the wrong state
├── AccessError           no token, an unknown one, or too low a role
├── UnavailableError      no answer, too late, or too busy: the same call may work later
├── ServerError           something broke that the caller could not have caused
└── ImageError            a local file cannot be read as an image
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One of several things at fault.

    Attributes:
        subject: Where in the request it is, such as `answers[3]`.
        reason: Name of a value of `parfocal.common.v1.ErrorReason`.
        message: One sentence for a person.
    """

    subject: str
    reason: str
    message: str


class ParfocalError(Exception):
    """A failure with a reason that a program can act on.

    Attributes:
        reason: Name of a value of `parfocal.common.v1.ErrorReason`, such as
            `ERROR_REASON_PROJECT_NOT_FOUND`; empty where none was given.
        message: One sentence for a person.
        metadata: What varies in the message, by name.
        code: Name of the gRPC status, such as `NOT_FOUND`; empty where no call was made.
        violations: Each thing at fault, where there may be several. The metadata counts those that
            did not fit into the answer, as `violations_left_out`.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        code: str = "",
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.code = code
        self.violations = tuple(violations)


class InvalidRequestError(ParfocalError):
    """The request can never work as it stands; the metadata often names the field."""


class NotFoundError(ParfocalError):
    """The named thing does not exist."""


class ConflictError(ParfocalError):
    """The thing exists already, was changed in between, or is in the wrong state."""


class AccessError(ParfocalError):
    """The call had no valid token, or the role of its caller is too low."""


class UnavailableError(ParfocalError):
    """No answer came in time; the same call may work later."""


class ServerError(ParfocalError):
    """Something broke that the caller could not have caused."""


class ImageError(ParfocalError):
    """A local file or folder cannot be read as an image; the message names it."""
