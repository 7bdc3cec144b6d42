"""The request that is running: what log lines and calls to other services say of it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_ID_KEY = "x-request-id"
"""Metadata that carries the id, in requests and in the trailing metadata of answers."""


@dataclass
class Request:
    """A request in progress.

    Attributes:
        id: Follows the request through the services and their logs.
        method: Full name of the gRPC method.
        caller: Name of the principal; empty until it is known, and where none is needed.
        projects: Names of the projects that it is about, as far as they are known.
    """

    id: str
    method: str
    caller: str = ""
    projects: tuple[str, ...] = ()


current_request: ContextVar[Request | None] = ContextVar("parfocal_request", default=None)


def current_request_id() -> str:
    """Return the id of the running request; empty outside of one."""
    request = current_request.get()
    return "" if request is None else request.id
