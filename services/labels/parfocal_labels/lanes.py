"""The two busy ways into the store: wishes for queries, and answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from parfocal_labels.answering import Answered, Outcomes, answer
from parfocal_labels.coalescing import Coalescer
from parfocal_labels.handing_out import Wish
from parfocal_labels.judging import Submission
from parfocal_labels.queueing import HandedOut, hand_out
from parfocal_labels.recent_specs import RecentSpecs
from parfocal_labels.records import Lease
from parfocal_labels.rows import time_to_raw
from parfocal_labels.statements import Statements
from parfocal_runtime.errors import NotFound
from parfocal_runtime.transactions import Session, Transactions

# Queries in one transaction. With more, all callers would march in step, and the database would
# idle while their answers are made out, and the other way round.
HEAVIEST = 640
# Answers in one transaction. Both lanes share the processor, and people wait for their next
# queries, not for what they sent to be written: few answers at a time let the queries come first.
_MOST_ANSWERS = 240
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
        heaviest: int = HEAVIEST,
    ) -> None:
        """Prepare.

        Args:
            transactions: On the database.
            clock: Gives the present time.
            written: Called with the number of a project that has new labels.
            heaviest: Queries in one transaction at most, unless one request alone has more.
        """
        self._transactions = transactions
        self._clock = clock
        self._written = written
        self._specs = RecentSpecs(_SPECS_AT_HAND)
        self._swept: dict[str, int] = {}
        self.leases: Coalescer[Wish, list[Lease]] = Coalescer(
            self._hand_out, weigh=lambda wish: wish.count, heaviest=heaviest
        )
        self.answers: Coalescer[Submission, Answered] = Coalescer(
            self._answer,
            weigh=lambda each: len(each.votes),
            heaviest=min(heaviest, _MOST_ANSWERS),
        )

    async def _hand_out(
        self, project: str, wishes: Sequence[Wish]
    ) -> Iterable[list[Lease] | Exception]:
        now = time_to_raw(self._clock())
        sweep = now - self._swept.get(project, 0) >= _SWEEP_MICROSECONDS

        async def work(session: Session) -> HandedOut | None:
            statements = Statements(session)
            return await hand_out(
                statements, project, wishes, now=now, sweep=sweep, specs=self._specs
            )

        leases = await self._transactions.run(work)
        if leases is None:
            return [_not_found(project)] * len(wishes)
        if sweep:
            self._swept[project] = now
        return leases

    async def _answer(
        self, project: str, submissions: Sequence[Submission]
    ) -> Iterable[Answered | Exception]:
        now = time_to_raw(self._clock())

        async def work(session: Session) -> tuple[int, Outcomes] | None:
            statements = Statements(session)
            return await answer(statements, project, submissions, now=now, specs=self._specs)

        answered = await self._transactions.run(work)
        if answered is None:
            return [_not_found(project)] * len(submissions)
        number, outcomes = answered
        self._written(number)
        return outcomes


def _not_found(project: str) -> NotFound:
    return NotFound(
        "ERROR_REASON_PROJECT_NOT_FOUND", f"there is no project {project!r}", project=project
    )
