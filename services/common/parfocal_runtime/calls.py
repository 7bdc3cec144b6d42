"""One place around every call: four shapes of methods, one list of layers.

gRPC asks an interceptor to wrap a handler, and handlers come in four shapes. `CallInterceptor`
wraps each shape once, and inside the wrapping enters the layers, outermost first. A layer is an
asynchronous context manager; what a handler raises passes through it.

Messages are decoded and encoded inside the wrapping as well, so that bytes which are no message
meet the layers as `InvalidInput` and not gRPC's UNKNOWN.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.metrics import call_type

Hook = Callable[[], None]
Context = Any  # grpc.aio.ServicerContext of unknown message types
Handler = Any  # grpc.RpcMethodHandler of unknown message types


@dataclass
class Call:
    """One call in progress.

    Attributes:
        method: Full name, such as `/parfocal.labels.v1.LabelsService/SubmitLabels`.
        kind: `unary`, `client_stream`, `server_stream` or `bidi_stream`.
        context: gRPC's own context of the call.
        metadata: What the caller sent; the last entry of a name counts.
        started: Monotonic clock at the start, in seconds.
        on_received: Called after each message from the caller.
        on_sent: Called before each message to the caller.
    """

    method: str
    kind: str
    context: Context
    metadata: dict[str, str]
    started: float = field(default_factory=time.monotonic)
    on_received: list[Hook] = field(default_factory=list)
    on_sent: list[Hook] = field(default_factory=list)


class Layer(Protocol):
    """Something that happens around every call."""

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Return what to enter before the handler runs and to leave after it."""
        ...


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Runs `layers` around every call of every shape, the first one outermost."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler of the method, None where there is none."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = _as_text(handler_call_details.method)
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = (handler, _Wrapping(handler, method, self._layers).handler())
            self._wrapped[method] = known
        return known[1]


class _Wrapping:
    """The four ways to run one handler inside the layers."""

    def __init__(self, inner: Handler, method: str, layers: tuple[Layer, ...]) -> None:
        self._inner = inner
        self._method = method
        self._layers = layers
        self._kind = call_type(
            client_streams=inner.request_streaming, server_streams=inner.response_streaming
        )
        self._decode: Callable[[bytes], Any] = inner.request_deserializer or _as_is
        self._encode: Callable[[Any], bytes] = inner.response_serializer or _as_is

    def handler(self) -> Handler:
        if self._inner.request_streaming:
            if self._inner.response_streaming:
                return grpc.stream_stream_rpc_method_handler(self._stream_stream)
            return grpc.stream_unary_rpc_method_handler(self._stream_unary)
        if self._inner.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._unary_stream)
        return grpc.unary_unary_rpc_method_handler(self._unary_unary)

    async def _unary_unary(self, data: bytes, context: Context) -> bytes:
        async with AsyncExitStack() as stack:
            call = await self._enter(stack, context)
            return self._sent(call, await self._inner.unary_unary(self._one(call, data), context))

    async def _stream_unary(self, stream: AsyncIterator[bytes], context: Context) -> bytes:
        async with AsyncExitStack() as stack:
            call = await self._enter(stack, context)
            answer = await self._inner.stream_unary(self._each(call, stream), context)
            return self._sent(call, answer)

    async def _unary_stream(self, data: bytes, context: Context) -> None:
        async with AsyncExitStack() as stack:
            call = await self._enter(stack, context)
            await self._send_all(call, self._inner.unary_stream, self._one(call, data))

    async def _stream_stream(self, stream: AsyncIterator[bytes], context: Context) -> None:
        async with AsyncExitStack() as stack:
            call = await self._enter(stack, context)
            await self._send_all(call, self._inner.stream_stream, self._each(call, stream))

    async def _enter(self, stack: AsyncExitStack, context: Context) -> Call:
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        call = Call(self._method, self._kind, context, metadata)
        for layer in self._layers:
            await stack.enter_async_context(layer.around(call))
        return call

    async def _send_all(self, call: Call, inner: Callable[..., Any], request: Any) -> None:
        context = _EncodingContext(call.context, lambda message: self._sent(call, message))
        answers = inner(request, context)
        if inspect.isawaitable(answers):
            # A handler that writes to the context by itself instead of yielding.
            await answers
            return
        async with aclosing(answers):
            async for message in answers:
                await context.write(message)

    def _one(self, call: Call, data: bytes) -> Any:
        for hook in call.on_received:
            hook()
        try:
            return self._decode(data)
        except Exception as error:
            raise InvalidInput(
                "ERROR_REASON_MALFORMED_MESSAGE", "the request is not a message of its type"
            ) from error

    async def _each(self, call: Call, stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in stream:
            yield self._one(call, data)

    def _sent(self, call: Call, message: Any) -> bytes:
        data = self._encode(message)
        for hook in call.on_sent:
            hook()
        return data


class _EncodingContext:
    """gRPC's context, with a `write` that takes messages; the wrapped handler writes bytes."""

    def __init__(self, context: Context, encode: Callable[[Any], bytes]) -> None:
        self._context = context
        self._encode = encode

    async def write(self, message: Any) -> None:
        await self._context.write(self._encode(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _as_is(message: Any) -> Any:
    return message


def _as_text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
