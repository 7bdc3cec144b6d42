"""What can go wrong in the domain, named for the situation and not for the wire.

Each error carries a reason, the name of a value of `parfocal.common.v1.ErrorReason`, and
metadata that repeats everything in the message that varies. `parfocal_runtime.status` maps the
classes to gRPC status codes; nothing here knows gRPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Violation:
    """One of several things at fault.

    Attributes:
        subject: Where in the request it is, such as `answers[3]`.
        reason: Name of an `ErrorReason` value.
        description: One sentence for a person.
    """

    subject: str
    reason: str
    description: str


class DomainError(Exception):
    """A failure that the caller should hear about, with a reason it can act on.

    Attributes:
        reason: Name of an `ErrorReason` value, such as `ERROR_REASON_INVALID_BOX`.
        message: One sentence for a person.
        violations: Each thing at fault, where there may be several; as many of the first as fit
            into the answer reach the caller.
        metadata: The parts of the message that vary, by name, as strings.
        retry_seconds: When the same call may work, in seconds from now; None is not known.
    """

    retry_seconds: float | None = None

    def __init__(
        self,
        reason: str,
        message: str,
        violations: Iterable[Violation] = (),
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it pass from one process to another."""
        kept = (self.reason, self.message, self.violations, self.metadata)
        return _again, (type(self), *kept), {"retry_seconds": self.retry_seconds}

    def retry_after(self, seconds: float) -> Self:
        """Say when the same call may work, and return the error."""
        self.retry_seconds = seconds
        return self


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Say of what goes wrong inside of the block which field of the request it comes from."""
    try:
        yield
    except DomainError as error:
        error.metadata["field"] = field
        raise


def _again(
    kind: type[DomainError],
    reason: str,
    message: str,
    violations: tuple[Violation, ...],
    metadata: dict[str, str],
) -> DomainError:
    return kind(reason, message, violations, **metadata)


class InvalidInput(DomainError):
    """The request can never work as it stands; the metadata names the field."""


class NotFound(DomainError):
    """The named thing does not exist."""


class AlreadyExists(DomainError):
    """The name is taken by something else."""


class WrongState(DomainError):
    """Something must change first; then the same request can work."""


class PermissionDenied(DomainError):
    """The caller is known but may not do this."""


class Unauthenticated(DomainError):
    """The caller did not say, or could not prove, who they are."""


class Exhausted(DomainError):
    """A limit is reached; back off and try again."""


class Conflict(DomainError):
    """Someone else changed the thing in between; read it again."""


class Unavailable(DomainError):
    """A part this depends on does not answer now; the same request may work later."""


class TimedOut(Unavailable):
    """The time that was allowed is over, and nothing was done; the same request may work later."""


class Cancelled(DomainError):
    """The caller went away or asked to stop."""
