"""A service whose methods do what its requests say, in each of the four shapes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, principal
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.request_id import current_request_id
from parfocal_runtime.server import RunningServer, Service, serving_in_thread
from parfocal_runtime.tasks import CancelFlag, in_thread

NAME = "tests.Echo"
RULES = {
    **{
        f"/{NAME}/{method}": Rule(Role.VIEWER, anywhere=True)
        for method in ("Unary", "ServerStream", "ClientStream", "BidiStream", "WatchForever")
    },
    f"/{NAME}/Curate": Rule(Role.CURATOR, anywhere=True, changes=True),
}


class Echo:
    """Answers with the request, except for these: fail, bug, later, abort, who, wait."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.request_ids: list[str] = []

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.request_ids.append(current_request_id())
        match request:
            case b"fail":
                raise InvalidInput("ERROR_REASON_INVALID_FIELD", "bad ü", field="a.b", value=3)
            case b"bug":
                raise ValueError("the password is hunter2")
            case b"later":
                raise NotImplementedError
            case b"abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "deliberate")
            case b"who":
                return f"{principal().name} {principal().role.name}".encode()
            case b"wait":
                flag = CancelFlag()
                await in_thread(self._wait, flag)
        return request

    def _wait(self, flag: CancelFlag) -> None:
        self.entered.set()
        flag.wait(30)

    async def unary(self, request: bytes, context: Any) -> bytes:
        return await self.answer(request, context)

    async def server_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self.answer(request, context)

    async def client_stream(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([await self.answer(each, context) async for each in requests])

    async def bidi_stream(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        async for each in requests:
            yield await self.answer(each, context)

    async def watch_forever(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        await asyncio.Event().wait()

    def register(self, server: grpc.aio.Server) -> None:
        unary: Any = grpc.unary_unary_rpc_method_handler(self.unary, request_deserializer=decoded)
        handlers: dict[str, Any] = {
            "Unary": unary,
            "Curate": unary,
            "Unlisted": unary,
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "BidiStream": grpc.stream_stream_rpc_method_handler(self.bidi_stream),
            "WatchForever": grpc.unary_stream_rpc_method_handler(self.watch_forever),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))

    def service(self, **hooks: Any) -> Service:
        return Service((NAME,), self.register, **hooks)


def decoded(data: bytes) -> bytes:
    if data == b"\xff":
        raise ValueError("no message")
    return data


Serve = Callable[..., AbstractContextManager[RunningServer]]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def config() -> ServerConfig:
    return ServerConfig(port=0, metrics_port=0, anonymous_role="viewer", grace_seconds=5)


@pytest.fixture
def server(echo: Echo, config: ServerConfig) -> Iterator[RunningServer]:
    with serving_in_thread([echo.service()], config, rules=RULES) as running:
        yield running


@pytest.fixture
def channel(server: RunningServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened
