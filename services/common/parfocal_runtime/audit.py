"""The audit trail: who changed what, and who was refused."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import grpc

from parfocal_runtime.access import METHOD_RULES, PUBLIC_METHODS, Rule
from parfocal_runtime.calls import Answer, Call, Method
from parfocal_runtime.channels import domain_error
from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import DomainError, PermissionDenied, Unauthenticated
from parfocal_runtime.interceptors import final_code
from parfocal_runtime.logs import get_logger
from parfocal_runtime.request_id import current_request
from parfocal_runtime.status import INTERNAL_REASON, status_code

_log = get_logger(__name__)
_RATE_LIMITED = "ERROR_REASON_RATE_LIMITED"
# A request may name any number of projects.
_MOST_PROJECTS = 16


class AuditTrail(Protocol):
    """Where the lines of the trail go."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep one line."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class AuditLog:
    """The trail as lines of the log."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Log one line."""
        _log.info("audit", **record)

    def close(self) -> None:
        """Hold nothing."""


class AuditFile:
    """The trail as a file of JSON lines, which several processes may share.

    A line is in the hands of the operating system before its call is answered. Another program may
    move the file away at any time: the next line begins a new one. A line that cannot be
    written goes to the log.

    Raises:
        ConfigError: If the file cannot be opened at first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._open()
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line."""
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        try:
            if self._is_moved():
                os.close(self._handle)
                self._open()
            if os.write(self._handle, line) != len(line):
                raise OSError("no space for a whole line")
        except OSError as error:
            _log.error("audit line not written", problem=str(error), **record)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._handle = os.open(self._path, flags, 0o640)
        found = os.fstat(self._handle)
        self._identity = (found.st_dev, found.st_ino)

    def _is_moved(self) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity


class AuditLayer:
    """Writes a line for each call that changes something and for each that is refused.

    Args:
        trail: Where the lines go.
        rules: Say which methods change something.
    """

    def __init__(self, trail: AuditTrail, *, rules: Mapping[str, Rule] = METHOD_RULES) -> None:
        self._trail = trail
        self._rules = rules

    def around(self, method: Method, answer: Answer) -> Answer:
        """Record the calls of `method` at their end."""
        if method.name in PUBLIC_METHODS:
            return answer
        rule = self._rules.get(method.name)
        changes = rule is not None and rule.changes

        async def recorded(call: Call) -> bytes | None:
            failure: BaseException | None = None
            try:
                return await answer(call)
            except BaseException as error:
                failure = error
                raise
            finally:
                if changes or _is_refusal(failure):
                    self._trail.write(_record(method.name, call, failure))

        return recorded


def _is_refusal(failure: BaseException | None) -> bool:
    return isinstance(failure, PermissionDenied | Unauthenticated) or (
        isinstance(failure, DomainError) and failure.reason == _RATE_LIMITED
    )


def _record(method: str, call: Call, failure: BaseException | None) -> dict[str, Any]:
    code, reason = _outcome(call, failure)
    request = current_request.get()
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "caller": request.caller if request else "",
        "method": method,
        "projects": [each for each in request.projects if each][:_MOST_PROJECTS] if request else [],
        "request_id": request.id if request else "",
        "code": code.name,
        "reason": reason,
        "peer": call.context.peer(),
    }


def _outcome(call: Call, failure: BaseException | None) -> tuple[grpc.StatusCode, str]:
    if isinstance(failure, grpc.RpcError):
        failure = domain_error(failure)
    if isinstance(failure, DomainError):
        return status_code(failure), failure.reason
    if isinstance(failure, NotImplementedError):
        return grpc.StatusCode.UNIMPLEMENTED, ""
    if isinstance(failure, Exception) and not isinstance(failure, grpc.aio.AbortError):
        return grpc.StatusCode.INTERNAL, INTERNAL_REASON
    return final_code(call, failure), ""
