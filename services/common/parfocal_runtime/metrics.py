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
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from parfocal_runtime.histograms import Histogram, add_histogram

# Buckets of Go's client library, which the usual dashboards expect.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# How soon the endpoint notices that it should close.
_POLL_SECONDS = 0.05
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


class GrpcMetrics(Collector):
    """The metrics of a gRPC server.

    The client library's counters take a lock and several calls each; there are five to a call, and
    all of a server's calls are counted by the thread of its event loop.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._methods: dict[tuple[str, str], MethodMetrics] = {}
        registry.register(self)

    def method(self, full_method: str, kind: str) -> MethodMetrics:
        """Return the metrics of one method, at zero if it was never called."""
        return self._methods.setdefault((full_method, kind), MethodMetrics())

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

    def collect(self) -> Iterable[Metric]:
        """Return the counts of all methods."""
        started = Metric("grpc_server_started", "Calls started on the server.", "counter")
        handled = Metric(
            "grpc_server_handled", "Calls completed on the server, by code.", "counter"
        )
        received = Metric("grpc_server_msg_received", "Messages received by the server.", "counter")
        sent = Metric("grpc_server_msg_sent", "Messages sent by the server.", "counter")
        seconds = Metric(
            "grpc_server_handling_seconds",
            "Seconds from the start of a call to its end.",
            "histogram",
        )
        # A copy: the event loop may meet a new method meanwhile.
        for (full_method, kind), counted in list(self._methods.items()):
            service, _, method = full_method.removeprefix("/").rpartition("/")
            labels = {"grpc_type": kind, "grpc_service": service, "grpc_method": method}
            started.add_sample("grpc_server_started_total", labels, counted.calls)
            received.add_sample("grpc_server_msg_received_total", labels, counted.messages_received)
            sent.add_sample("grpc_server_msg_sent_total", labels, counted.messages_sent)
            for code, count in counted.by_code.items():
                coded = {**labels, "grpc_code": go_code(code)}
                handled.add_sample("grpc_server_handled_total", coded, count)
            add_histogram(seconds, labels, counted.histogram.cumulated(), counted.seconds)
        return started, handled, received, sent, seconds


class MethodMetrics:
    """The counts of one method.

    Attributes:
        calls: Calls that started.
        messages_received: Messages from callers.
        messages_sent: Messages to callers.
        by_code: Calls that ended, by their code.
        seconds: How long all of them took.
        histogram: How long each took, in seconds.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.by_code = dict.fromkeys(grpc.StatusCode, 0)
        self.seconds = 0.0
        self.histogram = Histogram(_BUCKETS)

    def started(self) -> None:
        """Count a call that starts."""
        self.calls += 1

    def received(self) -> None:
        """Count a message from the caller."""
        self.messages_received += 1

    def sent(self) -> None:
        """Count a message to the caller."""
        self.messages_sent += 1

    def finished(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        self.by_code[code] += 1
        self.seconds += seconds
        self.histogram.add(seconds)


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
