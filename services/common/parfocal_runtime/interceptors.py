"""The layers around every call: metrics, request id, errors, draining, readiness."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from random import Random

import grpc

from parfocal_runtime.access import PUBLIC_METHODS
from parfocal_runtime.calls import Answer, Call, Method
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import DomainError, Unavailable
from parfocal_runtime.logs import get_logger
from parfocal_runtime.metrics import GrpcMetrics
from parfocal_runtime.request_id import (
    REQUEST_ID_KEY,
    Request,
    current_request,
    current_request_id,
)
from parfocal_runtime.status import (
    DETAILS_KEY,
    INTERNAL_MESSAGE,
    details_of,
    internal_details,
    message_of,
    status_code,
)

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Asking the system for each id would let go of the interpreter's lock, and other threads take it.
_ids = Random()
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class MetricsLayer:
    """Counts calls, messages and seconds."""

    def __init__(self, metrics: GrpcMetrics) -> None:
        self._metrics = metrics

    def around(self, method: Method, answer: Answer) -> Answer:
        """Count the calls of `method`."""
        metrics = self._metrics.method(method.name, method.kind)

        async def counted(call: Call) -> bytes | None:
            metrics.started()
            call.on_received.append(metrics.received)
            call.on_sent.append(metrics.sent)
            failure: BaseException | None = None
            try:
                return await answer(call)
            except BaseException as error:
                failure = error
                raise
            finally:
                metrics.finished(final_code(call, failure), time.monotonic() - call.started)

        return counted


class RequestLayer:
    """Gives every call a request id, and its log lines the id and the method.

    The id is the caller's `x-request-id` if that is 1 to 128 letters, digits and `._:/+=-`, else a
    new one; the answer carries it in the trailing metadata.
    """

    def around(self, method: Method, answer: Answer) -> Answer:
        """Name the calls of `method` and log their end."""

        async def named(call: Call) -> bytes | None:
            given = call.metadata.get(REQUEST_ID_KEY, "")
            known = given and _REQUEST_ID.fullmatch(given)
            request = Request(given if known else f"{_ids.getrandbits(128):032x}", method.name)
            call.context.set_trailing_metadata(((REQUEST_ID_KEY, request.id),))
            token = current_request.set(request)
            failure: BaseException | None = None
            try:
                return await answer(call)
            except BaseException as error:
                failure = error
                raise
            finally:
                _log_end(call, final_code(call, failure))
                current_request.reset(token)

        return named


class ErrorLayer:
    """Turns what a handler raises into a status.

    Domain errors become the status of the one table, with their reason as `google.rpc.ErrorInfo`;
    what another service answered keeps its code. Anything else is INTERNAL with a fixed
    text, its trace in the log. A method that is not implemented is UNIMPLEMENTED. Deliberate aborts
    and cancellation pass untouched.
    """

    def around(self, method: Method, answer: Answer) -> Answer:
        """Translate the errors of `method`."""

        async def translated(call: Call) -> bytes | None:
            try:
                return await answer(call)
            except grpc.aio.AbortError:
                raise
            except NotImplementedError:
                code, message = grpc.StatusCode.UNIMPLEMENTED, "this method is not implemented"
                await call.context.abort(code, message, _trailing())
            except DomainError as error:
                await _abort(call, error)
            except grpc.RpcError as error:
                _log.warning("another service failed", error=str(error))
                await _abort(call, domain_error(error))
            except Exception:
                _log.exception("unforeseen failure")
                details = internal_details(current_request_id())
                await call.context.abort(
                    grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, _trailing((DETAILS_KEY, details))
                )
            return None

        return translated


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

    def around(self, method: Method, answer: Answer) -> Answer:
        """Keep the calls of `method` in mind if they are watches."""
        if not method.name.rpartition("/")[2].startswith("Watch"):
            return answer

        async def ended(call: Call) -> bytes | None:
            self._require_running()
            task = asyncio.current_task()
            if task is None:
                return await answer(call)
            self._watches.add(task)
            try:
                return await answer(call)
            except asyncio.CancelledError:
                # The same exception tells that the caller went away; then nobody hears an answer.
                if call.context.cancelled():
                    raise
                task.uncancel()
                self._require_running()
                raise
            finally:
                self._watches.discard(task)

        return ended

    def _require_running(self) -> None:
        if self._is_draining:
            raise Unavailable("ERROR_REASON_SHUTTING_DOWN", "the server is stopping; connect again")


class ReadinessLayer:
    """Refuses calls of a service that has not started yet."""

    def __init__(self, is_started: Callable[[str], bool]) -> None:
        self._is_started = is_started

    def around(self, method: Method, answer: Answer) -> Answer:
        """Refuse the calls of `method` that come too early."""
        if method.name in PUBLIC_METHODS:
            return answer
        service = method.service

        async def refused(call: Call) -> bytes | None:
            if not self._is_started(service):
                raise Unavailable(
                    "ERROR_REASON_SERVICE_NOT_READY", f"{service} is starting", service=service
                )
            return await answer(call)

        return refused


async def _abort(call: Call, error: DomainError) -> None:
    await call.context.abort(
        status_code(error), message_of(error), _trailing((DETAILS_KEY, details_of(error)))
    )


def _trailing(*entries: tuple[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
    # What abort() is given replaces what the request layer had set.
    return ((REQUEST_ID_KEY, current_request_id()), *entries)


def final_code(call: Call, failure: BaseException | None) -> grpc.StatusCode:
    """Return the code that a call ended with, once its errors are translated."""
    if isinstance(failure, asyncio.CancelledError):
        remaining = call.context.time_remaining()
        late = remaining is not None and remaining <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    code = call.context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    if code in _CODES:
        return _CODES[code]
    return grpc.StatusCode.OK if failure is None else grpc.StatusCode.UNKNOWN


def _log_end(call: Call, code: grpc.StatusCode) -> None:
    level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
    # A line costs far more than this question, and most calls write none.
    if _levels.isEnabledFor(level):
        seconds = round(time.monotonic() - call.started, 6)
        _log.log(level, "call finished", code=code.name, seconds=seconds)
