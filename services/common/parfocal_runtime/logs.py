"""Logs: one JSON object a line on standard error, with the request they belong to."""

from __future__ import annotations

import logging
import sys
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = frozenset({"authorization", "token", "password", "secret", "secret_key", "access_key"})


def configure_logs(*, service: str, level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Send the lines of structlog and of the standard library to `stream` (standard error).

    Call it once, from `__main__`. Every line has `timestamp` (UTC), `level`, `event`, `logger`,
    `service`, and inside a request `request_id` and `method`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _with_service(service),
        without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
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


def get_logger(name: str) -> Any:
    """Return the logger of a module; key words of a line become its fields."""
    return structlog.stdlib.get_logger(name)
