"""Which submissions of answers are accepted, and what becomes of the queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parfocal_labels.consensus import Ballot
from parfocal_labels.disclosure import SEES_ALL, Reader
from parfocal_labels.records import Purpose, QueryState, Vote
from parfocal_runtime.errors import DomainError, NotFound, Violation, WrongState


@dataclass(frozen=True)
class Submission:
    """Answers that somebody sends in one call.

    Attributes:
        annotator: Who answers.
        votes: The answers, one for each query at most.
        request_id: What names the call among the annotator's.
        content: Digest of what it says.
        client: The program that sends it.
        reader: What the annotator may see.
    """

    annotator: str
    votes: tuple[Vote, ...]
    request_id: str
    content: str
    client: str
    reader: Reader = SEES_ALL


@dataclass
class Asked:
    """A query under judgement, as it stands now.

    Attributes:
        id: Its number.
        state: What became of it.
        votes: Votes that count.
        leases: People who hold it for a vote.
        ballots: Who voted what, earliest first; filled only where the rule asks for it.
    """

    id: int
    state: QueryState
    votes: int
    leases: int
    ballots: list[Ballot] = field(default_factory=list)


Settle = Callable[[Asked], QueryState]
"""Gives the state of a query that has just got a vote."""


class Bench:
    """Judges submissions one after the other; each sees what those before it changed."""

    def __init__(
        self,
        project: str,
        asked: Mapping[int, Asked],
        held: Mapping[tuple[int, str], Purpose],
        *,
        settle: Settle,
    ) -> None:
        """Begin.

        Args:
            project: Name of the project.
            asked: The queries that the submissions answer, as far as they exist.
            held: What for whom a query is leased at present.
            settle: Gives the state of a query that has just got a vote.
        """
        self._project = project
        self._asked = asked
        self._held = dict(held)
        self._settle = settle

    def accept(self, submission: Submission) -> list[Purpose]:
        """Count the answers of `submission`, all or none, and return what each counts for.

        Raises:
            NotFound: If a query does not exist (`ERROR_REASON_QUERY_NOT_FOUND`).
            WrongState: If a query is decided (`ERROR_REASON_QUERY_ALREADY_DECIDED`) or not leased
                by the annotator (`ERROR_REASON_QUERY_NOT_LEASED`); there is one violation for
                each answer at fault.
        """
        self._require_answerable(submission)
        purposes = []
        for vote in submission.votes:
            purpose = self._held.pop((vote.query, submission.annotator))
            purposes.append(purpose)
            if purpose is Purpose.VOTE:
                query = self._asked[vote.query]
                query.votes += 1
                query.leases -= 1
                query.ballots.append(Ballot(submission.annotator, vote.answer))
                query.state = self._settle(query)
        return purposes

    def _require_answerable(self, submission: Submission) -> None:
        faults = [
            (number, vote.query, fault)
            for number, vote in enumerate(submission.votes)
            if (fault := self._fault(vote.query, submission.annotator))
        ]
        if not faults:
            return
        violations = [
            Violation(f"answers[{number}]", fault.reason, fault.message)
            for number, _, fault in faults
        ]
        _, query, first = faults[0]
        name = f"projects/{self._project}/queries/{query}"
        if isinstance(first, NotFound):
            raise first
        raise WrongState(first.reason, first.message, violations=violations, query=name)

    def _fault(self, query: int, annotator: str) -> DomainError | None:
        asked = self._asked.get(query)
        purpose = self._held.get((query, annotator))
        if asked is not None and purpose is not None and not _is_over(asked, purpose):
            return None
        name = f"projects/{self._project}/queries/{query}"
        if asked is None:
            return NotFound("ERROR_REASON_QUERY_NOT_FOUND", f"there is no {name}", query=name)
        if _is_over(asked, purpose):
            return WrongState(
                "ERROR_REASON_QUERY_ALREADY_DECIDED",
                f"{name} has all the votes it needs",
                query=name,
            )
        return WrongState(
            "ERROR_REASON_QUERY_NOT_LEASED",
            f"{name} is not leased by the caller, or the lease has run out",
            query=name,
        )


def _is_over(asked: Asked, purpose: Purpose | None) -> bool:
    """Return whether a query takes no vote any more; gold and repeats are answered in any case."""
    return asked.state in _OVER and purpose in (None, Purpose.VOTE)


_OVER = (QueryState.DECIDED, QueryState.DISPUTED)
