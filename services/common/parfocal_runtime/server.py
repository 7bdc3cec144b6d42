"""The life of a server: listen, start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from parfocal_runtime.access import METHOD_RULES, Rule
from parfocal_runtime.admission import AccessLayer
from parfocal_runtime.audit import AuditFile, AuditLayer, AuditLog
from parfocal_runtime.auth import Authenticator, TokenFile
from parfocal_runtime.callers import Callers
from parfocal_runtime.calls import Layer, LayeredHandlers
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.garbage import look_less_often
from parfocal_runtime.interceptors import (
    DrainLayer,
    ErrorLayer,
    MetricsLayer,
    ReadinessLayer,
    RequestLayer,
)
from parfocal_runtime.logs import get_logger
from parfocal_runtime.metrics import GrpcMetrics, metrics_endpoint, new_registry
from parfocal_runtime.oidc import OidcTokens
from parfocal_runtime.principals import Role
from parfocal_runtime.quota import cpu_threads
from parfocal_runtime.rate_limits import RateLimiter
from parfocal_runtime.reflection import REFLECTION_NAMES, add_reflection
from parfocal_runtime.transport import place, server_credentials, server_options

_log = get_logger(__name__)
_READINESS_SECONDS = 0.5
_NOTICE_SECONDS = 0.05
_TAKE_UP_SECONDS = 0.2
_SETTLE_SECONDS = 2.0
_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING


async def _nothing() -> None:
    """Do nothing."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Service:
    """What an `app.build` returns: something that a server can serve.

    Attributes:
        names: Full names of the gRPC services, such as `parfocal.labels.v1.LabelsService`.
        register: Adds the servicers to a server.
        start: Awaited before the service is called: opens databases, loads models. Calls that
            come earlier are refused with UNAVAILABLE.
        stop: Awaited when no call is in progress any more, also if `start` failed.
        ready: Says at any time, without blocking, whether the service can do its work; health
            follows it.
        collectors: Metrics of the service's own, for `/metrics`.
    """

    names: tuple[str, ...]
    register: Callable[[grpc.aio.Server], None]
    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    ready: Callable[[], bool] = _always
    collectors: tuple[Collector, ...] = field(default=())


@dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: Host and port of gRPC, as a client takes it.
        metrics_port: Port of `/metrics`, -1 where it is off.
        registry: The metrics of this server.
    """

    address: str
    metrics_port: int
    registry: CollectorRegistry


def run(
    services: Sequence[Service],
    config: ServerConfig,
    *,
    on_ready: Callable[[RunningServer], None] | None = None,
    listen_last: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return; a second signal stops at once.

    Args:
        services: What to serve.
        config: How.
        on_ready: Called once, when every service has started and the port answers.
        listen_last: Whether to open the port only then. Otherwise it answers from the beginning,
            so that probes see a server that is starting.

    Raises:
        ConfigError: As `serving`.
    """
    # Cancelled is what a second signal leaves behind.
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(services, config, on_ready, listen_last))


@asynccontextmanager
async def serving(
    services: Sequence[Service],
    config: ServerConfig,
    *,
    rules: Mapping[str, Rule] = METHOD_RULES,
) -> AsyncIterator[RunningServer]:
    """Serve inside the block; leaving it drains the server and stops the services.

    The block begins when every service has started. Until then, and while draining, health is
    NOT_SERVING.

    Raises:
        ConfigError: If nobody could call the server, or a file or the port cannot be used.
    """
    server = _Server(services, config, rules)
    try:
        yield await server.start()
    finally:
        await server.close()


@contextmanager
def serving_in_thread(
    services: Sequence[Service],
    config: ServerConfig,
    *,
    rules: Mapping[str, Rule] = METHOD_RULES,
) -> Iterator[RunningServer]:
    """Serve inside the block from an event loop of its own, for callers that block."""
    started: Future[tuple[RunningServer, Callable[[], object]]] = Future()

    async def serve() -> None:
        done = asyncio.Event()
        stop = partial(asyncio.get_running_loop().call_soon_threadsafe, done.set)
        _use_threads(config)
        async with serving(services, config, rules=rules) as server:
            started.set_result((server, stop))
            await done.wait()
        await _settled()

    def live() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=live, name="parfocal-server")
    thread.start()
    try:
        server, stop = started.result()
        try:
            yield server
        finally:
            stop()
    finally:
        thread.join()


async def _run(
    services: Sequence[Service],
    config: ServerConfig,
    on_ready: Callable[[RunningServer], None] | None,
    listen_last: bool,
) -> None:
    told = _on_signals()
    _use_threads(config)
    server = _Server(services, config, METHOD_RULES, listen_last=listen_last)
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            running = starting.result()
            look_less_often()
            if on_ready is not None:
                on_ready(running)
            await told
            # What the network has delivered, but nobody has taken up yet, gRPC would cut off.
            await asyncio.sleep(_TAKE_UP_SECONDS)
        else:
            starting.cancel()
            await asyncio.wait((starting,))
    finally:
        await server.close()
        await _settled()


async def _settled() -> None:
    # gRPC's own tasks end a moment after the server; cut off with the loop they write a trace.
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_SETTLE_SECONDS)


def _on_signals() -> asyncio.Future[None]:
    """Return what is done after the first signal; a second one cancels the running task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)
        elif task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    return told


def _use_threads(config: ServerConfig) -> None:
    count = config.worker_threads or cpu_threads() + 4
    pool = ThreadPoolExecutor(count, thread_name_prefix="parfocal-work")
    asyncio.get_running_loop().set_default_executor(pool)


class _Server:
    """One grpc.aio server with everything around it."""

    def __init__(
        self,
        services: Sequence[Service],
        config: ServerConfig,
        rules: Mapping[str, Rule],
        *,
        listen_last: bool = False,
    ) -> None:
        self._services = services
        self._config = config
        self._listen_last = listen_last
        self._open: list[Service] = []
        self._ready_names: set[str] = set()
        self._started: set[str] = set()
        self._following: asyncio.Task[None] | None = None
        self._resources = ExitStack()
        self._registry = new_registry()
        self._health = health.aio.HealthServicer()
        self._watches = DrainLayer()
        self._server = self._built(rules)

    async def start(self) -> RunningServer:
        """Listen, then start the services (or the other way round), and report them ready."""
        metrics_port = self._open_metrics()
        for name in ("", *self._names()):
            await self._health.set(name, _NOT_SERVING)
        if self._listen_last:
            await self._start_services()
            await self._report()
            address = await self._listen()
        else:
            address = await self._listen()
            await self._start_services()
            await self._report()
        self._following = asyncio.create_task(self._follow())
        return RunningServer(address, metrics_port, self._registry)

    async def _listen(self) -> str:
        address = place(self._config.host, self._bind())
        await self._server.start()
        _log.info("listening", address=address)
        return address

    async def _start_services(self) -> None:
        for service in self._services:
            self._open.append(service)
            await service.start()
            self._started.update(service.names)

    async def close(self) -> None:
        """Drain: health down, watches ended, calls in progress awaited; then stop the services."""
        if self._following is not None:
            self._following.cancel()
        _log.info("draining", grace_seconds=self._config.grace_seconds)
        await self._health.enter_graceful_shutdown()
        try:
            # Those who watch the health should hear of it before their stream ends.
            notice = _NOTICE_SECONDS if self._watches else 0.0
            await asyncio.sleep(max(notice, self._config.drain_seconds))
            self._watches.drain()
            await self._server.stop(self._config.grace_seconds)
        finally:
            # Reached early when a second signal cancels the wait.
            await self._server.stop(0)
            for service in reversed(self._open):
                await _stop_logged(service)
            self._resources.close()
            _log.info("stopped")

    def _built(self, rules: Mapping[str, Rule]) -> grpc.aio.Server:
        metrics = GrpcMetrics(self._registry)
        layers: list[Layer] = [
            MetricsLayer(metrics),
            RequestLayer(),
            ErrorLayer(),
            *self._guards(rules),
            self._watches,
            ReadinessLayer(self._is_started),
        ]
        handlers = LayeredHandlers(layers)
        # Servicers do nothing to a server but add their handlers.
        registry = cast(grpc.aio.Server, handlers)
        for service in self._services:
            service.register(registry)
            for collector in service.collectors:
                self._registry.register(collector)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, registry)
        shown = (*self._names(), health.SERVICE_NAME)
        add_reflection(registry, shown)
        metrics.register_services((*shown, *REFLECTION_NAMES))
        server = grpc.aio.server(
            options=server_options(self._config),
            maximum_concurrent_rpcs=self._config.max_concurrent_rpcs,
        )
        server.add_generic_rpc_handlers((handlers,))
        return server

    def _guards(self, rules: Mapping[str, Rule]) -> list[Layer]:
        config = self._config
        callers = self._callers()
        trail = AuditFile(config.audit_file) if config.audit_file else AuditLog()
        self._resources.callback(trail.close)
        limit = config.rate_limit
        limiter = RateLimiter(limit, burst=config.rate_burst) if limit else None
        roots = (config.store_uri,) if config.store_uri else ()
        access = AccessLayer(callers, rules=rules, limiter=limiter, roots=roots)
        return [AuditLayer(trail, rules=rules), access]

    def _callers(self) -> Callers:
        config = self._config
        if not (config.tokens_file or config.oidc.issuer or config.anonymous_role):
            raise ConfigError(
                "PARFOCAL_TOKENS_FILE is not set, so nobody could call the server; name a tokens "
                "file or a PARFOCAL_OIDC_ISSUER, or let callers in without a token by "
                "PARFOCAL_ANONYMOUS_ROLE"
            )
        authenticators: list[Authenticator] = []
        listed = TokenFile(config.tokens_file) if config.tokens_file else None
        if listed is not None:
            authenticators.append(listed)
        if config.oidc.issuer:
            issued = OidcTokens(config.oidc)
            self._resources.callback(issued.close)
            authenticators.append(issued)
        return Callers(
            authenticators,
            certificates=listed if config.tls_client_ca_file else None,
            anonymous_role=Role.parse(config.anonymous_role) if config.anonymous_role else None,
        )

    def _open_metrics(self) -> int:
        host, port = self._config.host, self._config.metrics_port
        endpoint = metrics_endpoint(self._registry, host=host, port=port)
        try:
            return self._resources.enter_context(endpoint)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def _bind(self) -> int:
        wanted = place(self._config.host, self._config.port)
        credentials = server_credentials(self._config)
        try:
            if credentials is None:
                return self._server.add_insecure_port(wanted)
            return self._server.add_secure_port(wanted, credentials)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {wanted}: {error}") from error

    def _names(self) -> list[str]:
        return [name for service in self._services for name in service.names]

    def _is_started(self, name: str) -> bool:
        # What no service claims, such as health, is always there.
        return name in self._started or name not in self._names()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_READINESS_SECONDS)
            await self._report()

    async def _report(self) -> None:
        """Tell health what changed since the last time."""
        ready = {name for each in self._services if _is_ready(each) for name in each.names}
        if ready.issuperset(self._names()):
            ready.add("")
        for name in ready ^ self._ready_names:
            await self._health.set(name, _SERVING if name in ready else _NOT_SERVING)
            _log.info("readiness", of=name, ready=name in ready)
        self._ready_names = ready


def _is_ready(service: Service) -> bool:
    try:
        return service.ready()
    except Exception:
        _log.exception("readiness of a service could not be told", services=service.names)
        return False


async def _stop_logged(service: Service) -> None:
    try:
        await service.stop()
    except Exception:
        _log.exception("a service did not stop in good order", services=service.names)
