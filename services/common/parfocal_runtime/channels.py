"""Channels from one service to another: token, request id, limits, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

from parfocal_runtime.config import MEBIBYTE
from parfocal_runtime.errors import DomainError
from parfocal_runtime.request_id import REQUEST_ID_KEY, current_request_id
from parfocal_runtime.status import DETAILS_KEY, error_from_status
from parfocal_runtime.transport import read_file

Metadata = tuple[tuple[str, str | bytes], ...]

# Behind a headless name every address gets its share.
_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def aio_channel(
    target: str,
    *,
    token: str = "",
    ca_file: str | None = None,
    certificate_file: str = "",
    key_file: str = "",
    max_message_bytes: int = 64 * MEBIBYTE,
) -> grpc.aio.Channel:
    """Open a channel to another service for use in the event loop.

    Args:
        target: Name of the server, such as `127.0.0.1:50051` or `dns:///parfocal-labels:50051`.
        token: Bearer token that goes with every call; empty sends none.
        ca_file: PEM authorities that signed the server's certificate; an empty path takes the
            system's; None speaks plain text.
        certificate_file: PEM chain that is shown to the server; empty shows none.
        key_file: PEM key of that certificate.
        max_message_bytes: Largest message taken and sent.

    Raises:
        ConfigError: If a file cannot be read.
    """
    add = _adder(token)
    interceptors: list[grpc.aio.ClientInterceptor] = [
        _AioUnaryUnary(add),
        _AioUnaryStream(add),
        _AioStreamUnary(add),
        _AioStreamStream(add),
    ]
    options = channel_options(max_message_bytes)
    credentials = _credentials(ca_file, certificate_file, key_file)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def sync_channel(
    target: str,
    *,
    token: str = "",
    ca_file: str | None = None,
    certificate_file: str = "",
    key_file: str = "",
    max_message_bytes: int = 64 * MEBIBYTE,
) -> grpc.Channel:
    """Open a channel for use in threads; the arguments are those of `aio_channel`."""
    options = channel_options(max_message_bytes)
    credentials = _credentials(ca_file, certificate_file, key_file)
    channel = (
        grpc.insecure_channel(target, options=options)
        if credentials is None
        else grpc.secure_channel(target, credentials, options=options)
    )
    return grpc.intercept_channel(channel, _Sync(_adder(token)))


def channel_options(max_message_bytes: int) -> list[tuple[str, Any]]:
    """Return the channel arguments of a channel: limits, spread of calls, its own connection."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.service_config", _SERVICE_CONFIG),
        # A server that was killed is noticed although it closed nothing.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Shared, a connection that waits before it tries again would refuse the first call of a
        # new channel to a server that is back.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def domain_error(error: grpc.RpcError) -> DomainError:
    """Return the domain error that a failed call to another service stands for."""
    call: Any = error
    if not hasattr(call, "trailing_metadata"):
        return error_from_status(grpc.StatusCode.UNKNOWN, str(error), None)
    metadata = call.trailing_metadata() or ()
    details = next((value for key, value in metadata if key == DETAILS_KEY), None)
    return error_from_status(call.code(), call.details() or "", details)


def _credentials(
    ca_file: str | None, certificate_file: str, key_file: str
) -> grpc.ChannelCredentials | None:
    if ca_file is None and not certificate_file:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=read_file(ca_file) if ca_file else None,
        private_key=read_file(key_file) if certificate_file else None,
        certificate_chain=read_file(certificate_file) if certificate_file else None,
    )


def _adder(token: str) -> Callable[[Any], Any]:
    fixed: Metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def add(details: Any) -> Any:
        """Return the details of a call with token and request id among its metadata."""
        request_id = current_request_id()
        extra = (*fixed, (REQUEST_ID_KEY, request_id)) if request_id else fixed
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *extra)
        return details._replace(metadata=metadata)

    return add


class _Adding:
    def __init__(self, add: Callable[[Any], Any]) -> None:
        self._add = add


# gRPC takes an asynchronous interceptor for one shape only, even if it has methods for all.
class _AioUnaryUnary(_Adding, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
        return await go_on(self._add(details), request)


class _AioUnaryStream(_Adding, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, go_on: Any, details: Any, request: Any) -> Any:
        return await go_on(self._add(details), request)


class _AioStreamUnary(_Adding, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, go_on: Any, details: Any, requests: Any) -> Any:
        return await go_on(self._add(details), requests)


class _AioStreamStream(_Adding, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, go_on: Any, details: Any, requests: Any) -> Any:
        return await go_on(self._add(details), requests)


class _SyncDetails(grpc.ClientCallDetails):
    def __init__(self, details: grpc.ClientCallDetails, metadata: Any) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _Sync(
    _Adding,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
        return go_on(self._add(details), request)

    def intercept_unary_stream(self, go_on: Any, details: Any, request: Any) -> Any:
        return go_on(self._add(details), request)

    def intercept_stream_unary(self, go_on: Any, details: Any, requests: Any) -> Any:
        return go_on(self._add(details), requests)

    def intercept_stream_stream(self, go_on: Any, details: Any, requests: Any) -> Any:
        return go_on(self._add(details), requests)
