"""Calls that take longer than a caller likes to be without a sign of life."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from parfocal_runtime.channels import channel_options
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.transport import server_options

# Whatever is measured in time is this many times as fast: minutes in seconds.
FASTER = 300
CONNECTIONS = 4
# A server that takes offence at once, and is not heard of itself, as that is forgiven for.
TOUCHY = {"grpc.http2.max_ping_strikes": 1, "grpc.keepalive_time_ms": 2**31 - 1}


def faster(options: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Let signs of life come and be allowed faster; how long one may take stays."""
    return [
        (name, value // FASTER if name.endswith("_ms") and "timeout" not in name else value)
        for name, value in options
    ]


def test_callers_may_ask_for_signs_of_life_for_as_long_as_a_call_takes() -> None:
    async def answer_late(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(1200 / FASTER)
        return request

    async def call(target: str) -> bytes:
        options = [
            *faster(channel_options(1 << 20)),
            # Without this, only the first signs come so fast; the others a minute apart.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            late: Any = channel.unary_unary("/test.Late/Answer")
            answer: bytes = await late(b"late")
            return answer

    async def calls() -> list[bytes]:
        options = {**dict(faster(list(server_options(ServerConfig(port=0))))), **TOUCHY}
        server = grpc.aio.server(options=list(options.items()))
        handler: Any = grpc.unary_unary_rpc_method_handler(answer_late)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Late", {"Answer": handler}),)
        )
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            return await asyncio.gather(*(call(target) for _ in range(CONNECTIONS)))
        finally:
            await server.stop(None)

    assert asyncio.run(calls()) == [b"late"] * CONNECTIONS
