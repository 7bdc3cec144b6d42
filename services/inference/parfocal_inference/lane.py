"""The requests for one model version, on their way from the event loop through runs and back.

The event loop puts requests in line; a thread for each instance of the model takes what is to run,
runs it, and takes the next without asking the loop, which hears of a whole run in one message. So
an idle instance starts at once, and what comes while all are busy is collected.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from parfocal_inference.batch_queue import BatchQueue, Piece, Ticket
from parfocal_inference.batching_policy import BatchingPolicy
from parfocal_inference.joint_runs import (
    NO_TIME,
    RowsLost,
    Share,
    StageTimes,
    count_rows,
    put_together,
    run_jointly,
)
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Outcome
from parfocal_inference.serving_metrics import ModelStatistics
from parfocal_runtime.errors import Exhausted, InvalidInput, TimedOut
from parfocal_runtime.logs import get_logger
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import ModelSession

_LINGER_SECONDS = 2.0
_LEAST_RETRY_SECONDS = 0.001
# Until the first run has told how long one takes.
_GUESSED_RUN_SECONDS = 0.1
_NEW_RUN_WEIGHT = 0.2

_log = get_logger(__name__)


@dataclass(eq=False)
class _Request:
    """A request, and what runs have given of its answer so far."""

    session: ModelSession
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    answer: asyncio.Future[Outcome]
    asked_ns: int
    queue_ns: int = 0
    parts: dict[int, dict[str, Array]] = field(default_factory=dict)
    rows_done: int = 0
    times: StageTimes = NO_TIME


_Answer = tuple[_Request, Outcome | Exception]


class Lane:
    """The queue of one model version and the threads that empty it.

    Args:
        name: Name of the model.
        version: Its version.
        policy: How requests become runs.
        counted: Where runs are counted.
    """

    def __init__(
        self, name: str, version: int, policy: BatchingPolicy, counted: ModelStatistics
    ) -> None:
        self._name = name
        self._version = version
        self._policy = policy
        self._counted = counted
        self._lock = threading.Lock()
        # What follows is touched by whoever holds the lock.
        self._queue: BatchQueue[_Request] = BatchQueue(policy)
        self._idle: list[threading.Lock] = []
        self._threads = 0
        self._shares = policy.shares
        self._run_seconds: float | None = None
        self._is_closed = False

    async def run(
        self,
        session: ModelSession,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        """Return the outputs of the model for `inputs`; errors are those of `BatchingExecutor`."""
        has_rows = self._policy.max_rows is not None
        rows = count_rows(inputs) if has_rows else 1
        loop = asyncio.get_running_loop()
        request = _Request(session, inputs, outputs, loop.create_future(), time.monotonic_ns())
        with self._lock:
            ticket = self._added(request, rows, schedule)
        timer = None
        if ticket.timeout_ns:
            timer = loop.call_later(ticket.timeout_ns / 1e9, self._time_is_up, ticket)
        try:
            return await request.answer
        finally:
            if timer is not None:
                timer.cancel()
            # Where the caller went away, or a part of the request failed, the rest need not run.
            if ticket.waiting:
                with self._lock:
                    self._queue.remove(ticket)
                    self._counted.queued = len(self._queue)

    def close(self) -> None:
        """Let the threads end when nothing waits any more."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().release()

    def _added(self, request: _Request, rows: int, schedule: Schedule) -> Ticket[_Request]:
        try:
            ticket = self._queue.add(
                request,
                rows=rows,
                bucket=_shapes(request) if self._shares else request,
                now_ns=request.asked_ns,
                schedule=schedule,
            )
        except Exhausted as error:
            error.metadata.update(model=self._name, version=str(self._version))
            raise error.retry_after(self._seconds_to_drain()) from None
        self._counted.queued = len(self._queue)
        for _ in range(min(len(ticket.waiting), self._policy.instances)):
            self._wake()
        return ticket

    def _seconds_to_drain(self) -> float:
        most = self._policy.max_rows if self._shares else None
        runs = math.ceil(self._queue.rows / most) if most else len(self._queue)
        each = _GUESSED_RUN_SECONDS if self._run_seconds is None else self._run_seconds
        return max(runs * each / self._policy.instances, _LEAST_RETRY_SECONDS)

    def _wake(self) -> None:
        if self._idle:
            self._idle.pop().release()
        elif self._threads < self._policy.instances:
            self._threads += 1
            name = f"parfocal-{self._name}-{self._version}"
            threading.Thread(target=self._work, name=name).start()

    def _time_is_up(self, ticket: Ticket[_Request]) -> None:
        with self._lock:
            is_over = self._queue.lapse(ticket)
            self._counted.queued = len(self._queue)
        if is_over:
            _settle([(ticket.request, self._late(ticket))])

    def _late(self, ticket: Ticket[_Request]) -> TimedOut:
        timeout_us = ticket.timeout_ns // 1000
        return TimedOut(
            "ERROR_REASON_QUEUE_TIMEOUT",
            f"the request waited {timeout_us} microseconds for the model and was not run",
            model=self._name,
            version=self._version,
            timeout_us=timeout_us,
        )

    def _work(self) -> None:
        answers: list[_Answer] = []
        while self._run_next(answers):
            pass

    def _run_next(self, answers: list[_Answer]) -> bool:
        # A name in the loop would keep the arrays of the last run in memory.
        pieces = self._next(answers)
        if pieces:
            try:
                answers += self._run(pieces)
            except Exception as error:
                # Whatever it is: a thread that ended here would leave everybody behind it waiting.
                _log.exception("a run could not be answered", model=self._name)
                answers += [(piece.ticket.request, error) for piece in pieces]
        return bool(pieces)

    def _next(self, answers: list[_Answer]) -> tuple[Piece[_Request], ...]:
        """Return what is to run next, waiting for it; empty where the thread is to end.

        The answers of the last run are given only when nothing is left to do but to wait or run:
        told earlier, the event loop would wake up to find the interpreter's lock taken.
        """
        while True:
            bell = None
            with self._lock:
                taken = self._queue.take(time.monotonic_ns())
                self._counted.queued = len(self._queue)
                ready_ns = None if taken.pieces else self._queue.ready_ns()
                if not taken.pieces:
                    if ready_ns is None and self._is_closed:
                        self._threads -= 1
                    else:
                        bell = threading.Lock()
                        bell.acquire()
                        self._idle.append(bell)
            answers += [(ticket.request, self._late(ticket)) for ticket in taken.lapsed]
            _tell(answers.copy())
            answers.clear()
            if bell is None or not self._rests(bell, ready_ns):
                return taken.pieces

    def _rests(self, bell: threading.Lock, ready_ns: int | None) -> bool:
        """Wait for the bell or until something is ready; return False if nobody needs the thread.

        A bell that is not among the idle ones any more has been rung, or is about to be.
        """
        seconds = _LINGER_SECONDS
        if ready_ns is not None:
            seconds = max(ready_ns - time.monotonic_ns(), 0) / 1e9
        bell.acquire(timeout=seconds)
        with self._lock:
            if bell not in self._idle:
                return True
            self._idle.remove(bell)
            if ready_ns is None:
                self._threads -= 1
            return ready_ns is not None

    @property
    def _buckets(self) -> Sequence[int]:
        return self._policy.buckets if self._shares else ()

    def _run(self, pieces: Sequence[Piece[_Request]]) -> list[_Answer]:
        """Run pieces together, or if that fails each by itself; return what is to be answered."""
        began = time.monotonic_ns()
        session = pieces[0].ticket.request.session
        try:
            parts, times = run_jointly(
                session,
                [_share(piece) for piece in pieces],
                self._buckets,
                independent=self._shares,
            )
        except Exception as error:
            return self._run_one_by_one(pieces, error)
        self._counted.ran(sum(piece.rows for piece in pieces), times)
        with self._lock:
            self._learn((time.monotonic_ns() - began) / 1e9)
            finished = [
                piece.ticket.request
                for piece, part in zip(pieces, parts, strict=True)
                if _is_complete(piece, part, began, times)
            ]
        return [(request, _answer(request)) for request in finished]

    def _run_one_by_one(self, pieces: Sequence[Piece[_Request]], error: Exception) -> list[_Answer]:
        # A run that was filled up with rows of nobody was no run of one request alone.
        may_go_on = len(pieces) > 1 or (isinstance(error, RowsLost) and self._buckets)
        if not may_go_on:
            return [(pieces[0].ticket.request, self._told(error))]
        if isinstance(error, RowsLost):
            self._stop_sharing()
        for piece in pieces:
            if not piece.ticket.request.answer.done():
                _tell(self._run((piece,)))
        return []

    def _told(self, error: Exception) -> Exception:
        if not isinstance(error, RowsLost):
            return error
        return InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the model gives other rows than it is given, so it takes {self._policy.max_rows} at "
            "most",
            field="inputs",
        )

    def _stop_sharing(self) -> None:
        with self._lock:
            was_sharing, self._shares = self._shares, False
        if was_sharing:
            _log.warning(
                "the model gives other rows than it is given; its requests share no run any more",
                model=self._name,
                version=self._version,
            )

    def _learn(self, seconds: float) -> None:
        before = seconds if self._run_seconds is None else self._run_seconds
        self._run_seconds = before + _NEW_RUN_WEIGHT * (seconds - before)


def _shapes(request: _Request) -> tuple[tuple[int, ...], ...]:
    return tuple(request.inputs[spec.name].shape[1:] for spec in request.session.inputs)


def _share(piece: Piece[_Request]) -> Share:
    request = piece.ticket.request
    rows = None if piece.is_whole else slice(piece.start, piece.stop)
    return Share(request.inputs, request.outputs, rows)


def _is_complete(
    piece: Piece[_Request], part: dict[str, Array], began_ns: int, times: StageTimes
) -> bool:
    """Keep a part of the answer; return whether it was the last one."""
    request = piece.ticket.request
    if not request.parts:
        request.queue_ns = began_ns - request.asked_ns
    request.parts[piece.start] = part
    request.rows_done += piece.rows
    request.times = request.times.plus(times)
    return request.rows_done == piece.ticket.rows


def _answer(request: _Request) -> Outcome | Exception:
    parts = [request.parts[start] for start in sorted(request.parts)]
    try:
        outputs = parts[0] if len(parts) == 1 else put_together(parts)
    except (MemoryError, InvalidInput) as error:
        return error
    return Outcome(
        outputs=outputs,
        queue_ns=request.queue_ns,
        infer_ns=request.times.infer_ns,
        input_ns=request.times.input_ns,
        output_ns=request.times.output_ns,
    )


def _tell(answers: Sequence[_Answer]) -> None:
    """Give answers to the event loop, from another thread."""
    if not answers:
        return
    loop = answers[0][0].answer.get_loop()
    # A loop that is closed has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Iterable[_Answer]) -> None:
    for request, answer in answers:
        if request.answer.done():
            continue
        if isinstance(answer, Exception):
            request.answer.set_exception(answer)
        else:
            request.answer.set_result(answer)
