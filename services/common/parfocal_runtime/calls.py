"""One place around every call: four shapes of methods, one list of layers.

Handlers come in four shapes. `LayeredHandlers` wraps the handler of a method once, on its first
call: the shape turns into one function from a `Call` to its answer, and each layer, innermost
first, makes of that function another one with something around it. gRPC's own interceptors would
do the same anew for every call.

Messages are decoded and encoded inside the layers as well, so that bytes which are no message
meet them as `InvalidInput` and not gRPC's UNKNOWN.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.metrics import call_type

Hook = Callable[[], None]
Context = Any  # grpc.aio.ServicerContext of unknown message types
Handler = Any  # grpc.RpcMethodHandler of unknown message types


@dataclass(frozen=True)
class Method:
    """A method that is called.

    Attributes:
        name: Full name, such as `/parfocal.labels.v1.LabelsService/SubmitLabels`.
        kind: `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    """

    name: str
    kind: str

    @property
    def service(self) -> str:
        """Full name of the service."""
        return self.name.removeprefix("/").rpartition("/")[0]


@dataclass(slots=True)
class Call:
    """One call in progress.

    Attributes:
        incoming: The request, or an asynchronous iterator of requests, as bytes.
        context: gRPC's own context of the call.
        metadata: What the caller sent; the last entry of a name counts.
        started: Monotonic clock at the start, in seconds.
        on_received: Called after each message from the caller.
        on_request: Called with each message from the caller once it is decoded; what it raises
            refuses the message.
        on_sent: Called before each message to the caller.
    """

    incoming: Any
    context: Context
    metadata: dict[str, str]
    started: float = field(default_factory=time.monotonic)
    on_received: list[Hook] = field(default_factory=list)
    on_request: list[Callable[[Any], None]] = field(default_factory=list)
    on_sent: list[Hook] = field(default_factory=list)


Answer = Callable[[Call], Awaitable[bytes | None]]
"""Takes a call and returns the answer as bytes, or None after it has sent a stream of them."""


class Layer(Protocol):
    """Something that happens around every call."""

    def around(self, method: Method, answer: Answer) -> Answer:
        """Return `answer` with something around it, or itself where there is nothing to do."""
        ...


class LayeredHandlers(grpc.GenericRpcHandler):
    """Puts `layers` around every call of every shape, the first one outermost.

    Servicers are registered with it in place of the server, which has it as its only handler.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._added: list[grpc.GenericRpcHandler] = []
        self._wrapped: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Take handlers as a server does."""
        self._added.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Pass over what generated code adds a second time, for a faster way past the layers."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the wrapped handler of the method, None where there is none."""
        name = handler_call_details.method
        known = self._wrapped.get(name)
        if known is None:
            found = (each.service(handler_call_details) for each in self._added)
            handler = next((each for each in found if each is not None), None)
            if handler is not None:
                known = self._wrapped[name] = self._wrap(handler, name)
        return known

    def _wrap(self, handler: Handler, name: str) -> Handler:
        streams = (bool(handler.request_streaming), bool(handler.response_streaming))
        method = Method(name, call_type(client_streams=streams[0], server_streams=streams[1]))
        shape = _Shape(handler)
        answer: Answer = shape.answer_stream if streams[1] else shape.answer_one
        for layer in reversed(self._layers):
            answer = layer.around(method, answer)

        async def behave(incoming: Any, context: Context) -> Any:
            return await answer(Call(incoming, context, _metadata(context)))

        return _REWRAP[streams](behave)


_REWRAP: dict[tuple[bool, bool], Callable[[Any], Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Shape:
    """Runs one handler on bytes, whatever its shape."""

    def __init__(self, handler: Handler) -> None:
        self._behave: Callable[[Any, Context], Any] = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        self._take = self._each if handler.request_streaming else self._one
        self._decode: Callable[[bytes], Any] = handler.request_deserializer or _as_is
        self._encode: Callable[[Any], bytes] = handler.response_serializer or _as_is

    async def answer_one(self, call: Call) -> bytes:
        request = self._take(call, call.incoming)
        return self._sent(call, await self._behave(request, call.context))

    async def answer_stream(self, call: Call) -> None:
        context = _EncodingContext(call.context, lambda message: self._sent(call, message))
        answers = self._behave(self._take(call, call.incoming), context)
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
            message = self._decode(data)
        except Exception as error:
            raise InvalidInput(
                "ERROR_REASON_MALFORMED_MESSAGE", "the request is not a message of its type"
            ) from error
        for look in call.on_request:
            look(message)
        return message

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


def _metadata(context: Context) -> dict[str, str]:
    entries = context.invocation_metadata() or ()
    return {key: value for key, value in entries if isinstance(value, str)}


def _as_is(message: Any) -> Any:
    return message
