"""The id that follows a request through the services and their logs."""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID_KEY = "x-request-id"
"""Metadata that carries the id, in requests and in the trailing metadata of answers."""

current_request_id: ContextVar[str] = ContextVar("parfocal_request_id", default="")
"""Id of the running request; empty outside of one."""
