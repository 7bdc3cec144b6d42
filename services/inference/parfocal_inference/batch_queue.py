"""Which of the rows that wait run together: decided here, on plain objects and with no clock.

A request waits as one or more pieces: those of more rows than a run may have are cut. A piece
names the bucket it may share a run with. Of all that wait, the first piece is the oldest of the
highest priority; the next run is that piece and the pieces of its bucket behind it, in order, as
many as fit. So no piece is overtaken by a younger one of its priority and bucket, and no bucket
waits for ever behind another one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from parfocal_inference.batching_policy import BatchingPolicy
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_runtime.errors import Exhausted

T = TypeVar("T")


@dataclass(eq=False)
class Ticket(Generic[T]):
    """A request in the queue.

    Attributes:
        request: What waits.
        rows: How many rows it has.
        bucket: What it may share runs with.
        level: Its priority; lower goes first.
        arrived_ns: When it came.
        timeout_ns: How long it may wait; 0 is for ever.
        rejects: Whether it fails when it has waited too long.
        delayed: Whether it has waited too long and goes behind the others of its priority.
        waiting: Its pieces that wait, by their number in the queue.
        has_begun: Whether a piece of it has been taken to run.
    """

    request: T
    rows: int
    bucket: Hashable
    level: int
    arrived_ns: int
    timeout_ns: int
    rejects: bool
    delayed: bool = False
    waiting: dict[int, Piece[T]] = field(default_factory=dict)
    has_begun: bool = False

    @property
    def lapses_ns(self) -> int | None:
        """When it will have waited too long; None is never."""
        if not self.timeout_ns or self.delayed or self.has_begun:
            return None
        return self.arrived_ns + self.timeout_ns


class Piece(NamedTuple, Generic[T]):
    """Rows `start` to `stop` of a request, which run together; `number` is its place in line."""

    ticket: Ticket[T]
    number: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its request."""
        return self.rows == self.ticket.rows


class Taken(NamedTuple, Generic[T]):
    """What `take` took from the queue.

    Attributes:
        pieces: What is to run now, together; empty if nothing is.
        lapsed: Requests that waited too long and are to fail.
    """

    pieces: tuple[Piece[T], ...]
    lapsed: tuple[Ticket[T], ...] = ()


class BatchQueue(Generic[T]):
    """The requests for one model version that wait; for one thread at a time.

    Times are nanoseconds of any clock that only goes forward.

    Args:
        policy: How requests become runs.
    """

    def __init__(self, policy: BatchingPolicy) -> None:
        self._policy = policy
        self._lines: dict[tuple[int, bool], _Line[T]] = {}
        self._counts: dict[int, int] = {}
        self._next = 0
        self._rows = 0
        self._had_company = False

    def __len__(self) -> int:
        """Return how many requests wait."""
        return sum(self._counts.values())

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return self._rows

    def add(
        self,
        request: T,
        *,
        rows: int,
        bucket: Hashable,
        now_ns: int,
        schedule: Schedule = DEFAULT,
    ) -> Ticket[T]:
        """Put a request in line.

        Args:
            request: What waits.
            rows: How many rows it has.
            bucket: What it may share runs with: requests of equal buckets.
            now_ns: The time.
            schedule: When it wants to run.

        Raises:
            Exhausted: If as many wait at its priority as may (`ERROR_REASON_QUEUE_FULL`).
        """
        level = self._policy.level_of(schedule)
        queue = self._policy.queue_of(level)
        if queue.max_size and self._counts.get(level, 0) >= queue.max_size:
            raise Exhausted(
                "ERROR_REASON_QUEUE_FULL",
                f"{queue.max_size} requests wait for the model already; try again later",
                limit=queue.max_size,
            )
        ticket = Ticket(
            request=request,
            rows=rows,
            bucket=bucket,
            level=level,
            arrived_ns=now_ns,
            timeout_ns=queue.timeout_of(schedule),
            rejects=queue.rejects,
        )
        longest = self._policy.max_rows or max(rows, 1)
        for start in range(0, max(rows, 1), longest):
            piece = Piece(ticket, self._next, start, min(start + longest, rows))
            self._next += 1
            ticket.waiting[piece.number] = piece
        self._counts[level] = self._counts.get(level, 0) + 1
        self._rows += rows
        self._join(ticket)
        return ticket

    def remove(self, ticket: Ticket[T]) -> None:
        """Take what still waits of a request out of the queue."""
        if not ticket.waiting:
            return
        pieces = tuple(ticket.waiting.values())
        self._leave(ticket, *pieces)
        ticket.waiting.clear()
        self._rows -= sum(piece.rows for piece in pieces)
        self._uncount(ticket)

    def lapse(self, ticket: Ticket[T]) -> bool:
        """Do with a request what is due when it has waited too long; return whether it is to fail.

        A request of which a piece has run already does not wait any more, and nothing is due.
        """
        if not ticket.waiting or ticket.has_begun or ticket.delayed:
            return False
        if ticket.rejects:
            self.remove(ticket)
            return True
        self._leave(ticket, *ticket.waiting.values())
        ticket.delayed = True
        self._join(ticket)
        return False

    def take(self, now_ns: int) -> Taken[T]:
        """Take what is to run now, as an instance of the model is idle."""
        if not self._lines:
            return Taken(())
        lapsed: list[Ticket[T]] = []
        while True:
            pieces = self._gathered()
            late = {piece.ticket for piece in pieces if _is_late(piece.ticket, now_ns)}
            if not late:
                break
            # In the order in which they came, which is kept where they go behind the others.
            for ticket in sorted(late, key=lambda each: min(each.waiting)):
                if self.lapse(ticket):
                    lapsed.append(ticket)
        chosen = self._chosen(pieces, now_ns)
        for piece in chosen:
            self._begin(piece)
        if chosen:
            self._had_company = len({piece.ticket for piece in chosen}) > 1
        return Taken(tuple(chosen), tuple(lapsed))

    def ready_ns(self) -> int | None:
        """Return when `take` is to be called again, if nothing else happens; None is never.

        For an idle instance, after `take` has given nothing to run.
        """
        pieces = self._gathered()
        if not pieces:
            return None
        oldest = min(piece.ticket.arrived_ns for piece in pieces)
        lapses = (piece.ticket.lapses_ns for piece in pieces)
        times = [time for time in lapses if time is not None]
        return min([oldest + self._policy.delay_ns, *times])

    def _gathered(self) -> list[Piece[T]]:
        """Return the most that can run together now, in order."""
        lines = [self._lines[key] for key in sorted(self._lines)]
        if not lines:
            return []
        first = lines[0].first()
        most = self._policy.max_rows
        if most is None or not self._policy.shares:
            return [first]
        pieces: list[Piece[T]] = []
        rows = 0
        for line in lines:
            for piece in line.of(first.ticket.bucket):
                rows += piece.rows
                if rows > most or len(pieces) == most:
                    return pieces
                pieces.append(piece)
        return pieces

    def _chosen(self, pieces: list[Piece[T]], now_ns: int) -> list[Piece[T]]:
        """Return those of `pieces` that run now: all, up to a preferred size, or none yet."""
        if not pieces:
            return []
        delay = self._policy.delay_ns
        if delay and now_ns >= min(piece.ticket.arrived_ns for piece in pieces) + delay:
            return pieces
        if self._policy.preferred and (preferred := self._up_to_preferred(pieces)):
            return preferred
        return [] if delay and self._may_wait(pieces) else pieces

    def _up_to_preferred(self, pieces: list[Piece[T]]) -> list[Piece[T]]:
        best = rows = 0
        for count, piece in enumerate(pieces, 1):
            rows += piece.rows
            if rows in self._policy.preferred:
                best = count
        return pieces[:best]

    def _may_wait(self, pieces: list[Piece[T]]) -> bool:
        """Return whether company is likely to come, and would fit."""
        most = self._policy.max_rows
        if most is None or not self._policy.shares:
            return False
        rows = sum(piece.rows for piece in pieces)
        bucket = pieces[0].ticket.bucket
        behind = sum(line.count(bucket) for line in self._lines.values()) > len(pieces)
        return rows < most and not behind and (self._had_company or len(self) > 1)

    def _begin(self, piece: Piece[T]) -> None:
        ticket = piece.ticket
        self._leave(ticket, piece)
        del ticket.waiting[piece.number]
        ticket.has_begun = True
        self._rows -= piece.rows
        if not ticket.waiting:
            self._uncount(ticket)

    def _uncount(self, ticket: Ticket[T]) -> None:
        self._counts[ticket.level] -= 1
        if not self._counts[ticket.level]:
            del self._counts[ticket.level]

    def _join(self, ticket: Ticket[T]) -> None:
        line = self._lines.setdefault((ticket.level, ticket.delayed), _Line())
        for piece in ticket.waiting.values():
            line.add(piece)

    def _leave(self, ticket: Ticket[T], *pieces: Piece[T]) -> None:
        key = (ticket.level, ticket.delayed)
        line = self._lines[key]
        for piece in pieces:
            line.drop(piece)
        if not line:
            del self._lines[key]


class _Line(Generic[T]):
    """Pieces of one priority, in order: all of them, and those of each bucket."""

    def __init__(self) -> None:
        # Plain dicts take ever longer to find their first entry where many were deleted before it.
        self._all: OrderedDict[int, Piece[T]] = OrderedDict()
        self._buckets: dict[Hashable, OrderedDict[int, Piece[T]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def first(self) -> Piece[T]:
        """Return the first piece."""
        return next(iter(self._all.values()))

    def of(self, bucket: Hashable) -> Iterator[Piece[T]]:
        """Return the pieces of a bucket in order."""
        return iter(self._buckets.get(bucket, {}).values())

    def count(self, bucket: Hashable) -> int:
        """Return how many pieces of a bucket there are."""
        return len(self._buckets.get(bucket, ()))

    def add(self, piece: Piece[T]) -> None:
        """Add a piece at the end."""
        self._all[piece.number] = piece
        bucket = self._buckets.setdefault(piece.ticket.bucket, OrderedDict())
        bucket[piece.number] = piece

    def drop(self, piece: Piece[T]) -> None:
        """Take a piece out."""
        del self._all[piece.number]
        bucket = self._buckets[piece.ticket.bucket]
        del bucket[piece.number]
        if not bucket:
            del self._buckets[piece.ticket.bucket]


def _is_late(ticket: Ticket[T], now_ns: int) -> bool:
    lapses = ticket.lapses_ns
    return lapses is not None and lapses <= now_ns
