"""A server process for tests: starts when a line comes in, and answers until it is stopped."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from parfocal_runtime.access import METHOD_RULES, Rule
from parfocal_runtime.auth import Role
from parfocal_runtime.config import ServerConfig, from_env
from parfocal_runtime.logs import configure_logs, get_logger
from parfocal_runtime.server import Service, run
from parfocal_runtime.tasks import CancelFlag, in_thread

log = get_logger("tests.echo")


async def bidi_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for each in requests:
        yield each


async def hold(request: bytes, context: Any) -> bytes:
    flag = CancelFlag()
    await in_thread(hold_thread, flag)
    return request


def hold_thread(flag: CancelFlag) -> None:
    log.info("holding")
    flag.wait(60)
    log.info("let go", told=flag.is_set())


async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    await asyncio.Event().wait()


def register(server: grpc.aio.Server) -> None:
    handlers: dict[str, Any] = {
        "BidiStream": grpc.stream_stream_rpc_method_handler(bidi_stream),
        "Hold": grpc.unary_unary_rpc_method_handler(hold),
        "WatchForever": grpc.unary_stream_rpc_method_handler(watch),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Echo", handlers),))
    anyone = Rule(Role.VIEWER, anywhere=True)
    METHOD_RULES.update({f"/tests.Echo/{method}": anyone for method in handlers})


async def start() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    await lines.readline()


async def stop() -> None:
    log.info("service stopped")


if __name__ == "__main__":
    configure_logs(service="echo")
    run(
        [Service(("tests.Echo",), register, start=start, stop=stop)],
        from_env(ServerConfig, os.environ, "PARFOCAL_ECHO"),
    )
