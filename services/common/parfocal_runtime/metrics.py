"""Metrics for Prometheus: those of gRPC under the names of Go's middleware, and `/metrics`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc
from google.protobuf import descriptor_pool
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)

# Buckets of Go's client library, which the usual dashboards expect.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# How soon the endpoint notices that it should close.
_POLL_SECONDS = 0.05
_METHOD = ("grpc_type", "grpc_service", "grpc_method")

_GO_NAMES = {
    code: "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
    for code in grpc.StatusCode
} | {grpc.StatusCode.CANCELLED: "Canceled"}


def new_registry() -> CollectorRegistry:
    """Return a registry with the figures of the process in it; each server has its own."""
    # The `_created` series would double the number of series; Go has none.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def go_code(code: grpc.StatusCode) -> str:
    """Return the name of a status code as Go writes it, such as `NotFound`."""
    return _GO_NAMES[code]


def call_type(*, client_streams: bool, server_streams: bool) -> str:
    """Return the kind of a method as Go's middleware writes it, such as `server_stream`."""
    if client_streams:
        return "bidi_stream" if server_streams else "client_stream"
    return "server_stream" if server_streams else "unary"


class GrpcMetrics:
    """The metrics of a gRPC server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "grpc_server_started_total", "Calls started on the server.", _METHOD, registry=registry
        )
        self._handled = Counter(
            "grpc_server_handled_total",
            "Calls completed on the server, by code.",
            (*_METHOD, "grpc_code"),
            registry=registry,
        )
        self._received = Counter(
            "grpc_server_msg_received_total",
            "Messages received by the server.",
            _METHOD,
            registry=registry,
        )
        self._sent = Counter(
            "grpc_server_msg_sent_total", "Messages sent by the server.", _METHOD, registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from the start of a call to its end.",
            _METHOD,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._methods: dict[tuple[str, str], MethodMetrics] = {}

    def method(self, full_method: str, kind: str) -> MethodMetrics:
        """Return the metrics of one method, at zero if it was never called."""
        key = (full_method, kind)
        if key not in self._methods:
            service, _, method = full_method.removeprefix("/").rpartition("/")
            labels = (kind, service, method)
            self._methods[key] = MethodMetrics(
                started=self._started.labels(*labels),
                received=self._received.labels(*labels),
                sent=self._sent.labels(*labels),
                seconds=self._seconds.labels(*labels),
                handled={
                    code: self._handled.labels(*labels, go_code(code)) for code in grpc.StatusCode
                },
            )
        return self._methods[key]

    def register_services(self, names: Iterable[str]) -> None:
        """Put every method of the services there at zero, as far as their descriptors are known."""
        pool = descriptor_pool.Default()
        for name in names:
            try:
                service = pool.FindServiceByName(name)
            except KeyError:
                continue
            for method in service.methods:
                kind = call_type(
                    client_streams=method.client_streaming, server_streams=method.server_streaming
                )
                self.method(f"/{name}/{method.name}", kind)


class MethodMetrics:
    """The metrics of one method; counting costs no look-up of labels."""

    def __init__(
        self,
        *,
        started: Counter,
        received: Counter,
        sent: Counter,
        seconds: Histogram,
        handled: dict[grpc.StatusCode, Counter],
    ) -> None:
        self.started = started.inc
        self.received = received.inc
        self.sent = sent.inc
        self._seconds = seconds
        self._handled = handled

    def finished(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        self._handled[code].inc()
        self._seconds.observe(seconds)


@contextmanager
def metrics_endpoint(registry: CollectorRegistry, *, host: str, port: int) -> Iterator[int]:
    """Serve `/metrics` inside the block; yields the port, -1 if `port` is -1 (off).

    Raises:
        OSError: If the port is taken.
    """
    if port < 0:
        yield -1
        return
    server = make_server(host, port, make_wsgi_app(registry), _Server, _QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each scrape."""
