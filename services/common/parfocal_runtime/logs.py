"""Logs: one JSON object a line on standard error, with the request they belong to."""

from __future__ import annotations

import logging
import sys
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from parfocal_runtime.request_id import current_request

_SECRET = frozenset({"authorization", "token", "password", "secret", "secret_key", "access_key"})
_FOR_FORMATTER = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def get_logger(name: str) -> Any:
    """Return the logger of a module; key words of a line become its fields."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *_processors(), _FOR_FORMATTER],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def configure_logs(*, service: str, level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Send all lines, those of other libraries too, to `stream` (standard error).

    Call it once, from `__main__`. Every line has `timestamp` (UTC), `level`, `event`, `logger`,
    `service`, and inside a request `request_id`, `method` and `caller`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _with_service(service),
                without_secrets,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    structlog.configure(
        processors=[*_processors(), _FOR_FORMATTER],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These write a line for every call at DEBUG.
    for chatty in ("asyncio", "grpc", "grpc._cython.cygrpc", "urllib3"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.INFO))


def without_secrets(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Blank the values of keys that hold secrets."""
    return {key: "***" if key.lower() in _SECRET else value for key, value in event.items()}


def _with_service(service: str) -> Processor:
    def add(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return add


def _with_request(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    request = current_request.get()
    if request is not None:
        event.setdefault("request_id", request.id)
        event.setdefault("method", request.method)
        if request.caller:
            event.setdefault("caller", request.caller)
    return event


def _processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _with_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
