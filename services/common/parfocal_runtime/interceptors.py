"""The layers around every call: metrics, request id, errors, draining, readiness, access."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc
import structlog

from parfocal_runtime.access import METHOD_ROLES, PUBLIC_METHODS, require_access
from parfocal_runtime.auth import (
    Authenticator,
    Principal,
    Role,
    acting_as,
    bearer_token,
)
from parfocal_runtime.calls import Call
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import DomainError, Unauthenticated, Unavailable
from parfocal_runtime.logs import get_logger
from parfocal_runtime.metrics import GrpcMetrics
from parfocal_runtime.request_id import REQUEST_ID_KEY, current_request_id
from parfocal_runtime.status import (
    DETAILS_KEY,
    INTERNAL_MESSAGE,
    details_of,
    internal_details,
    message_of,
    status_code,
)

_log = get_logger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class MetricsLayer:
    """Counts calls, messages and seconds."""

    def __init__(self, metrics: GrpcMetrics) -> None:
        self._metrics = metrics

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Count `call`."""
        method = self._metrics.method(call.method, call.kind)
        method.started()
        call.on_received.append(method.received)
        call.on_sent.append(method.sent)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            method.finished(_final_code(call, failure), time.monotonic() - call.started)


class RequestLayer:
    """Gives every call a request id, and its log lines the id and the method.

    The id is the caller's `x-request-id` if that is 1 to 128 letters, digits and `._:/+=-`, else a
    new one; the answer carries it in the trailing metadata.
    """

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Name `call` and log its end."""
        given = call.metadata.get(REQUEST_ID_KEY, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        call.context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        token = current_request_id.set(request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id, method=call.method):
            failure: BaseException | None = None
            try:
                yield
            except BaseException as error:
                failure = error
                raise
            finally:
                _log_end(call, _final_code(call, failure))
                current_request_id.reset(token)


class ErrorLayer:
    """Turns what a handler raises into a status.

    Domain errors become the status of the one table, with their reason as `google.rpc.ErrorInfo`;
    what another service answered keeps its code. Anything else is INTERNAL with a fixed
    text, its trace in the log. A method that is not implemented is UNIMPLEMENTED. Deliberate aborts
    and cancellation pass untouched.
    """

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Translate the errors of `call`."""
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except NotImplementedError:
            await call.context.abort(
                grpc.StatusCode.UNIMPLEMENTED, "this method is not implemented", _trailing()
            )
        except DomainError as error:
            await _abort(call, error)
        except grpc.RpcError as error:
            _log.warning("another service failed", error=str(error))
            await _abort(call, domain_error(error))
        except Exception:
            _log.exception("unforeseen failure")
            await call.context.abort(
                grpc.StatusCode.INTERNAL,
                INTERNAL_MESSAGE,
                _trailing((DETAILS_KEY, internal_details(current_request_id.get()))),
            )


class DrainLayer:
    """Ends the calls that never end by themselves, `Watch...`, when the server stops."""

    def __init__(self) -> None:
        self._watches: set[asyncio.Task[object]] = set()
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._watches)

    def drain(self) -> None:
        """End every watch; later ones are refused."""
        self._is_draining = True
        for task in self._watches:
            task.cancel()

    def is_draining(self) -> bool:
        """Return whether the server is stopping."""
        return self._is_draining

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Keep `call` in mind if it is a watch."""
        task = asyncio.current_task()
        if task is None or not call.method.rpartition("/")[2].startswith("Watch"):
            yield
            return
        if self.is_draining():
            raise _stopping()
        self._watches.add(task)
        try:
            yield
        except asyncio.CancelledError:
            # The same exception tells that the caller went away; then nobody hears an answer.
            if call.context.cancelled() or not self.is_draining():
                raise
            task.uncancel()
            raise _stopping() from None
        finally:
            self._watches.discard(task)


class ReadinessLayer:
    """Refuses calls of a service that has not started yet."""

    def __init__(self, is_started: Callable[[str], bool]) -> None:
        self._is_started = is_started

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Refuse `call` if it comes too early."""
        service = call.method.removeprefix("/").rpartition("/")[0]
        if call.method not in PUBLIC_METHODS and not self._is_started(service):
            raise Unavailable(
                "ERROR_REASON_SERVICE_NOT_READY", f"{service} is starting", service=service
            )
        yield


class AccessLayer:
    """Finds out who calls and whether they may.

    Args:
        authenticator: Knows the owners of tokens; None knows nobody.
        anonymous_role: Role of callers without a token; None refuses them.
        roles: The least role of each method.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        *,
        anonymous_role: Role | None = None,
        roles: Mapping[str, Role] = METHOD_ROLES,
    ) -> None:
        self._authenticator = authenticator
        self._anonymous = Principal("anonymous", anonymous_role) if anonymous_role else None
        self._roles = roles

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Check `call` and make its caller the principal."""
        caller = None if call.method in PUBLIC_METHODS else self._caller(call.metadata)
        require_access(caller, call.method, self._roles)
        if caller is None:
            yield
            return
        with acting_as(caller), structlog.contextvars.bound_contextvars(caller=caller.name):
            yield

    def _caller(self, metadata: Mapping[str, str]) -> Principal | None:
        token = bearer_token(metadata)
        if token is None or self._authenticator is None:
            return self._anonymous
        caller = self._authenticator.authenticate(token)
        if caller is None:
            raise Unauthenticated("ERROR_REASON_TOKEN_INVALID", "the token is not known")
        return caller


async def _abort(call: Call, error: DomainError) -> None:
    await call.context.abort(
        status_code(error), message_of(error), _trailing((DETAILS_KEY, details_of(error)))
    )


def _trailing(*entries: tuple[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
    # What abort() is given replaces what the request layer had set.
    return ((REQUEST_ID_KEY, current_request_id.get()), *entries)


def _stopping() -> Unavailable:
    return Unavailable("ERROR_REASON_SHUTTING_DOWN", "the server is stopping; connect again")


def _final_code(call: Call, failure: BaseException | None) -> grpc.StatusCode:
    if isinstance(failure, asyncio.CancelledError):
        remaining = call.context.time_remaining()
        late = remaining is not None and remaining <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    code = call.context.code()
    if isinstance(code, int):
        code = next((each for each in grpc.StatusCode if each.value[0] == code), None)
    if code is None:
        return grpc.StatusCode.OK if failure is None else grpc.StatusCode.UNKNOWN
    return grpc.StatusCode(code)


def _log_end(call: Call, code: grpc.StatusCode) -> None:
    seconds = round(time.monotonic() - call.started, 6)
    write = _log.debug if code is grpc.StatusCode.OK else _log.info
    write("call finished", code=code.name, seconds=seconds)
