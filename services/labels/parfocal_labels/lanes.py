"""The two busy ways into the store: wishes for queries, and answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from parfocal_labels.answering import Answered, answer
from parfocal_labels.coalescing import Coalescer
from parfocal_labels.handing_out import Wish
from parfocal_labels.judging import Submission
from parfocal_labels.queueing import hand_out
from parfocal_labels.recent_specs import RecentSpecs
from parfocal_labels.records import Lease
from parfocal_labels.rows import time_to_raw
from parfocal_labels.statements import Statements
from parfocal_runtime.errors import NotFound
from parfocal_runtime.transactions import Session, Transactions

R = TypeVar("R")


class Most(NamedTuple):
    """How much goes into one transaction at most.

    Attributes:
        queries: Queries that are handed out.
        answers: Answers that are taken.
    """

    queries: int
    answers: int


# With more queries, all callers would march in step, and the database would idle while their
# leases are made out, and the other way round. Both lanes share the processor, and people wait for
# their next queries, not for what they sent to be written: few answers at a time let the queries
# come first.
_ON_POSTGRESQL = Most(queries=640, answers=320)
# One transaction runs at a time, and nothing beside it: the fewer commits the better. Sixty
# annotators with twenty queries each.
_ON_SQLITE = Most(queries=1280, answers=1280)
# Sixty annotators with a hundred queries each in hand; about 1 KiB each.
_SPECS_AT_HAND = 10_000
# Leases that are over are put back this often, and at once where somebody would get too few.
_SWEEP_MICROSECONDS = 1_000_000


class Lanes:
    """Gathers the requests of a project that wait, and runs them together.

    Attributes:
        leases: Takes wishes for queries.
        answers: Takes submissions of answers.
    """

    def __init__(
        self,
        transactions: Transactions,
        *,
        clock: Callable[[], datetime],
        written: Callable[[int], None],
        most: Most | None = None,
    ) -> None:
        """Prepare.

        Args:
            transactions: On the database.
            clock: Gives the present time.
            written: Called with the number of a project that has new labels.
            most: What goes into one transaction, unless one request alone has more; None is what
                suits the database.
        """
        if most is None:
            most = _ON_POSTGRESQL if transactions.is_postgresql else _ON_SQLITE
        self._transactions = transactions
        self._clock = clock
        self._written = written
        self._specs = RecentSpecs(_SPECS_AT_HAND)
        self._swept: dict[str, int] = {}
        self.leases: Coalescer[Wish, list[Lease]] = Coalescer(
            self._hand_out, weigh=lambda wish: wish.count, heaviest=most.queries
        )
        self.answers: Coalescer[Submission, Answered] = Coalescer(
            self._answer, weigh=lambda each: len(each.votes), heaviest=most.answers
        )

    async def _hand_out(
        self, project: str, wishes: Sequence[Wish]
    ) -> Iterable[list[Lease] | Exception]:
        now = self._present()
        # A clock may have been set back since.
        sweep = abs(now - self._swept.get(project, 0)) >= _SWEEP_MICROSECONDS

        async def work(session: Session) -> Iterable[list[Lease] | Exception] | None:
            statements = Statements(session)
            handed = await hand_out(
                statements, project, wishes, clock=self._present, sweep=sweep, specs=self._specs
            )
            return None if handed is None else _made_out(handed, session)

        leases = await self._transactions.run(work)
        if leases is None:
            return [_not_found(project)] * len(wishes)
        if sweep:
            self._swept[project] = now
        return leases

    async def _answer(
        self, project: str, submissions: Sequence[Submission]
    ) -> Iterable[Answered | Exception]:
        now = self._present()

        async def work(session: Session) -> tuple[int, Iterable[Answered | Exception]] | None:
            statements = Statements(session)
            answered = await answer(statements, project, submissions, now=now, specs=self._specs)
            if answered is None:
                return None
            number, outcomes = answered
            return number, _made_out(outcomes, session)

        answered = await self._transactions.run(work)
        if answered is None:
            return [_not_found(project)] * len(submissions)
        number, outcomes = answered
        self._written(number)
        return outcomes

    def _present(self) -> int:
        return time_to_raw(self._clock())


def _made_out(answers: Iterator[R], session: Session) -> Iterable[R]:
    """Return answers as they are best made out: on SQLite now, in the thread that writes.

    The event loop would have to wait for that thread to let go of the interpreter's lock, and the
    thread for the loop, at every row.
    """
    return answers if session.is_postgresql else list(answers)


def _not_found(project: str) -> NotFound:
    return NotFound(
        "ERROR_REASON_PROJECT_NOT_FOUND", f"there is no project {project!r}", project=project
    )
