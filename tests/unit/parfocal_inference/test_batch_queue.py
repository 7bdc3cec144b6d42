from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parfocal_inference.batch_queue import BatchQueue, Piece, Ticket
from parfocal_inference.batching_policy import BatchingPolicy, QueuePolicy
from parfocal_inference.schedule import Schedule
from parfocal_runtime.errors import Exhausted

US = 1000

POLICIES = st.builds(
    BatchingPolicy,
    max_rows=st.integers(1, 9),
    shares=st.booleans(),
    preferred=st.frozensets(st.integers(1, 9), max_size=2),
    delay_ns=st.sampled_from([0, 0, 5 * US]),
    levels=st.just(3),
    default_level=st.just(2),
    queue=st.builds(
        QueuePolicy,
        rejects=st.booleans(),
        timeout_ns=st.sampled_from([0, 8 * US]),
        allows_override=st.booleans(),
        max_size=st.sampled_from([0, 0, 4]),
    ),
    queues=st.just({3: QueuePolicy(rejects=False, timeout_ns=6 * US)}),
)


class AnyUse(RuleBasedStateMachine):
    """Any order of requests, runs, cancellations and waiting, checked against simple rules."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.queue: BatchQueue[int] | None = None
        self.policy = BatchingPolicy()
        self.asked: list[Ticket[int]] = []
        self.ran: dict[Ticket[int], list[Piece[int]]] = {}
        self.failed: set[Ticket[int]] = set()
        self.cancelled: set[Ticket[int]] = set()

    @precondition(lambda self: self.queue is None)
    @rule(policy=POLICIES)
    def start(self, policy: BatchingPolicy) -> None:
        self.policy = policy
        self.queue = BatchQueue(policy)

    @precondition(lambda self: self.queue is not None)
    @rule(
        rows=st.integers(0, 25),
        bucket=st.sampled_from("abc"),
        priority=st.integers(0, 5),
        timeout_us=st.sampled_from([0, 0, 3, 20]),
    )
    def ask(self, rows: int, bucket: str, priority: int, timeout_us: int) -> None:
        assert self.queue is not None
        level = priority if 1 <= priority <= 3 else 2
        most = self.policy.queue_of(level).max_size
        waiting = sum(1 for ticket in self.asked if ticket.waiting and ticket.level == level)
        number = len(self.asked)
        try:
            ticket = self.queue.add(
                number,
                rows=rows,
                bucket=bucket if self.policy.shares else number,
                now_ns=self.now,
                schedule=Schedule(priority, timeout_us),
            )
        except Exhausted:
            assert most
            assert waiting >= most
            return
        assert not most or waiting < most
        assert ticket.level == level
        self.asked.append(ticket)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        assert self.queue is not None
        ticket = data.draw(st.sampled_from(self.asked))
        if ticket.waiting:
            self.cancelled.add(ticket)
        self.queue.remove(ticket)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ring_the_timer(self, data: st.DataObject) -> None:
        assert self.queue is not None
        ticket = data.draw(st.sampled_from(self.asked))
        lapses = ticket.lapses_ns
        if lapses is not None and lapses <= self.now and self.queue.lapse(ticket):
            assert not ticket.has_begun
            assert ticket.rejects
            self.failed.add(ticket)

    @rule(us=st.integers(0, 12))
    def wait(self, us: int) -> None:
        self.now += us * US

    @precondition(lambda self: self.queue is not None)
    @rule()
    def take(self) -> None:
        assert self.queue is not None
        before = order_of(self.asked)
        taken = self.queue.take(self.now)
        for ticket in taken.lapsed:
            assert ticket.rejects
            assert ticket.arrived_ns + ticket.timeout_ns <= self.now
            self.failed.add(ticket)
        if taken.pieces:
            self.check_run(taken.pieces, before)
        elif any(ticket.waiting for ticket in self.asked):
            # Only a delay that is configured keeps an idle instance waiting, and not for ever.
            ready = self.queue.ready_ns()
            assert self.policy.delay_ns
            assert ready is not None
            assert self.now < ready <= self.now + self.policy.delay_ns
        for piece in taken.pieces:
            self.ran.setdefault(piece.ticket, []).append(piece)

    def check_run(self, pieces: Sequence[Piece[int]], before: Sequence[Piece[int]]) -> None:
        assert self.policy.max_rows is not None
        assert sum(piece.rows for piece in pieces) <= self.policy.max_rows
        assert len({piece.ticket.bucket for piece in pieces}) == 1
        assert all(piece.ticket not in self.failed | self.cancelled for piece in pieces)
        for piece in pieces:
            has_begun = piece.ticket in self.ran
            assert has_begun or piece.ticket.delayed or not was_late(piece, self.now)
        # Those of its bucket run in the order of the queue, from its first piece on.
        left = [piece for piece in before if piece.ticket not in self.failed]
        on_time = [piece for piece in left if not was_late(piece, self.now)]
        late = [piece for piece in left if was_late(piece, self.now)]
        if not late:
            first = on_time[0]
            mine = [p for p in on_time if p.ticket.bucket == first.ticket.bucket]
            assert list(pieces) == mine[: len(pieces)]

    @invariant()
    def every_row_waits_ran_or_was_given_up_once(self) -> None:
        if self.queue is None:
            return
        assert len(self.queue) == sum(1 for ticket in self.asked if ticket.waiting)
        assert self.queue.rows == sum(
            piece.rows for ticket in self.asked for piece in ticket.waiting.values()
        )
        for ticket in self.asked:
            parts = [*self.ran.get(ticket, []), *ticket.waiting.values()]
            if ticket in self.failed:
                assert not parts
            elif ticket not in self.cancelled:
                ends = sorted((piece.start, piece.stop) for piece in parts)
                assert ends[0][0] == 0
                assert ends[-1][1] == ticket.rows
                assert all(a[1] == b[0] for a, b in pairwise(ends))

    def teardown(self) -> None:
        """Let all that waits run: nothing may be left over."""
        if self.queue is None:
            return
        for _ in range(1 + sum(2 + len(ticket.waiting) for ticket in self.asked)):
            self.now += 10 * US
            self.take()
        assert len(self.queue) == 0
        assert self.queue.ready_ns() is None
        for ticket in self.asked:
            ends = self.failed | self.cancelled
            assert (ticket in ends) or sum(p.rows for p in self.ran[ticket]) == ticket.rows


def order_of(asked: Sequence[Ticket[int]]) -> list[Piece[int]]:
    """Return what waits, the first to run first."""
    waiting = [piece for ticket in asked for piece in ticket.waiting.values()]
    # Those that were put behind stand in the order in which that happened, which is not ours to
    # know; `was_late` and `delayed` leave them out of the comparison below.
    return sorted(waiting, key=lambda p: (p.ticket.level, p.ticket.delayed, p.number))


def was_late(piece: Piece[int], now: int) -> bool:
    ticket = piece.ticket
    return bool(ticket.timeout_ns) and ticket.arrived_ns + ticket.timeout_ns <= now


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def queue_of(**policy: Any) -> BatchQueue[str]:
    return BatchQueue(BatchingPolicy(**{"max_rows": 8, "shares": True, **policy}))


def add(queue: BatchQueue[str], *names: str, rows: int = 1, now: int = 0, **more: Any) -> None:
    for name in names:
        queue.add(name, rows=rows, bucket=more.get("bucket"), now_ns=now,
                  schedule=more.get("schedule", Schedule()))  # fmt: skip


def run(queue: BatchQueue[str], now: int = 0) -> str:
    return "".join(piece.ticket.request for piece in queue.take(now).pieces)


def test_what_waits_runs_together_up_to_the_most_rows() -> None:
    queue = queue_of()
    add(queue, "a", "b", "c", rows=3)

    assert [run(queue), run(queue), run(queue)] == ["ab", "c", ""]


def test_another_shape_waits_for_a_run_of_its_own_but_not_behind_younger_ones_of_it() -> None:
    queue = queue_of()
    add(queue, "a", bucket=1)
    add(queue, "b", bucket=2)
    add(queue, "c", bucket=1)

    assert [run(queue), run(queue)] == ["ac", "b"]


def test_the_highest_priority_goes_first_and_takes_others_along_where_they_fit() -> None:
    queue = queue_of(max_rows=2, levels=2, default_level=2)
    add(queue, "a", "b")
    add(queue, "c", schedule=Schedule(priority=1))

    assert [run(queue), run(queue)] == ["ca", "b"]


def test_a_request_of_too_many_rows_is_cut_and_its_rest_shared() -> None:
    queue = queue_of()
    add(queue, "a", rows=19)
    add(queue, "b", rows=4)

    runs = [[(p.ticket.request, p.start, p.stop) for p in queue.take(0).pieces] for _ in range(3)]

    assert runs == [[("a", 0, 8)], [("a", 8, 16)], [("a", 16, 19), ("b", 0, 4)]]


def test_a_run_stops_at_the_largest_preferred_size_that_can_be_had() -> None:
    queue = queue_of(preferred=frozenset({2, 4}))
    add(queue, *"abcdefg")

    assert [run(queue), run(queue), run(queue)] == ["abcd", "ef", "g"]


def test_a_lone_request_does_not_wait_for_company_that_has_never_come() -> None:
    queue = queue_of(delay_ns=10)
    add(queue, "a")

    assert run(queue) == "a"


def test_company_is_waited_for_where_there_was_some_and_no_longer_than_the_delay() -> None:
    queue = queue_of(delay_ns=10)
    add(queue, "a", "b", now=0)

    assert (run(queue, 9), queue.ready_ns(), run(queue, 10)) == ("", 10, "ab")
    add(queue, "c", now=20)
    assert (run(queue, 29), run(queue, 30)) == ("", "c")
    add(queue, "d", now=40)
    assert run(queue, 40) == "d"


def test_a_full_run_or_a_preferred_size_does_not_wait() -> None:
    queue = queue_of(delay_ns=10, preferred=frozenset({3}))
    add(queue, *"abc")
    assert run(queue) == "abc"

    add(queue, *"abcdefgh")
    assert run(queue) == "abc"


@pytest.mark.parametrize(("rejects", "ends"), [(True, ["b", ""]), (False, ["ba", ""])])
def test_a_request_that_waited_too_long_fails_or_goes_behind(
    rejects: bool, ends: list[str]
) -> None:
    queue = queue_of(queue=QueuePolicy(rejects=rejects, timeout_ns=5))
    add(queue, "a", now=0)
    add(queue, "b", now=3)

    assert [run(queue, 6), run(queue, 6)] == ends


def test_a_request_may_shorten_its_time_where_that_is_allowed_and_never_lengthen_it() -> None:
    policy = QueuePolicy(timeout_ns=5 * US, allows_override=True)

    times = [policy.timeout_of(Schedule(timeout_us=us)) for us in (0, 3, 9)]

    assert times == [5 * US, 3 * US, 5 * US]
    assert QueuePolicy(timeout_ns=5 * US).timeout_of(Schedule(timeout_us=3)) == 5 * US
    assert QueuePolicy(allows_override=True).timeout_of(Schedule(timeout_us=3)) == 3 * US


@given(st.integers(1, 40))
def test_requests_without_rows_run_one_by_one(count: int) -> None:
    queue: BatchQueue[int] = BatchQueue(BatchingPolicy())
    for number in range(count):
        queue.add(number, rows=1, bucket=number, now_ns=0)

    runs = [[piece.ticket.request for piece in queue.take(0).pieces] for _ in range(count + 1)]

    assert runs == [*([number] for number in range(count)), []]
