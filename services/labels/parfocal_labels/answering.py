"""Turning answers into labels: all submissions that wait, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parfocal_labels.answers import checked_answer
from parfocal_labels.consensus import Ballot, consensus, needs_content
from parfocal_labels.judging import Asked, Bench, Submission
from parfocal_labels.recent_specs import RecentSpecs
from parfocal_labels.records import (
    Label,
    Project,
    Purpose,
    Query,
    QuerySpec,
    QueryState,
    Rules,
)
from parfocal_labels.rows import (
    STATES,
    answer_from_raw,
    project_from_raw,
    query_from_raw,
    time_from_raw,
)
from parfocal_labels.statements import Facts, Locked, Outcome, Standing, Statements
from parfocal_labels.submissions import reused
from parfocal_runtime.errors import DomainError


@dataclass(frozen=True)
class Again:
    """The answer to a call that was made before: the sequence numbers of its labels."""

    sequences: tuple[int, ...]


Answered = list[Label] | Again
"""What a submission comes to."""


Outcomes = Iterator[Answered | DomainError]
"""What each submission comes to."""


@dataclass(frozen=True)
class _Accepted:
    """A submission whose labels are written.

    Attributes:
        submission: What was sent.
        first: Sequence number of its first label.
        purposes: What each label counts for.
        seen: State and votes of each query just after it.
    """

    submission: Submission
    first: int
    purposes: list[Purpose]
    seen: list[tuple[QueryState, int]]


async def answer(
    statements: Statements,
    name: str,
    submissions: Sequence[Submission],
    *,
    now: int,
    specs: RecentSpecs,
) -> tuple[int, Outcomes] | None:
    """Turn answers into labels, those of each submission all or none.

    Args:
        statements: Of an open transaction.
        name: The project.
        submissions: Who answers what.
        now: The present time, microseconds since 1970 UTC.
        specs: What the queries in people's hands ask.

    Returns:
        The number of the project, and for each submission its labels, or that it was made
        before, or why it is refused. They are made out as they are read, which needs no database
        any more and may well be when the transaction is over. None if there is no such project.
    """
    row = await statements.project(name, numbers=True)
    if row is None:
        return None
    project = project_from_raw(row)
    return project.id, await _Answering(statements, project, now, specs).run(submissions)


class _Answering:
    """One transaction's worth of answers."""

    def __init__(
        self, statements: Statements, project: Project, now: int, specs: RecentSpecs
    ) -> None:
        self._statements = statements
        self._project = project
        self._now = now
        self._recent = specs
        self._specs: dict[int, QuerySpec] = {}
        self._sequence = project.last_sequence
        self._facts = Facts()
        self._outcomes: list[Outcome] = []
        # What each call asked for, and, as JSON, what it led to.
        self._calls: dict[tuple[str, str], tuple[str, str]] = {}
        self._rows: dict[int, Locked] = {}
        self._asked: dict[int, Asked] = {}

    async def run(self, submissions: Sequence[Submission]) -> Outcomes:
        await self._read_calls(submissions)
        bench = await self._bench(submissions)
        outcomes = [self._judge(submission, bench) for submission in submissions]
        if self._facts.queries:
            touched = set(self._facts.queries)
            await self._statements.write(
                self._project.id,
                facts=self._facts,
                standings=[_standing(self._asked[query]) for query in sorted(touched)],
                outcomes=self._outcomes,
                after=self._project.last_sequence,
                now=self._now,
            )
        return (
            self._labels(outcome) if isinstance(outcome, _Accepted) else outcome
            for outcome in outcomes
        )

    async def _read_calls(self, submissions: Sequence[Submission]) -> None:
        calls = {(each.annotator, each.request_id) for each in submissions}
        rows = await self._statements.outcomes(self._project.id, calls)
        for call, row in rows.items():
            self._calls[call] = (row["content_sha256"], row["outcome"])

    async def _bench(self, submissions: Sequence[Submission]) -> Bench:
        pairs = {(vote.query, each.annotator) for each in submissions for vote in each.votes}
        ids = sorted({query for query, _ in pairs})
        self._rows = await self._statements.lock(self._project.id, ids)
        await self._find_specs()
        self._asked = {
            number: Asked(number, STATES[row.state], row.votes, row.leases)
            for number, row in self._rows.items()
        }
        held = await self._statements.held(pairs, now=self._now)
        rules = self._project.rules
        if needs_content(rules):
            for row in await self._statements.votes(ids):
                ballot = Ballot(row["annotator"], answer_from_raw(row))
                self._asked[row["query_id"]].ballots.append(ballot)
        return Bench(
            self._project.name, self._asked, held, settle=lambda query: settled(query, rules)
        )

    async def _find_specs(self) -> None:
        unknown = []
        for number in self._rows:
            spec = self._recent.get(number)
            if spec is None:
                unknown.append(number)
            else:
                self._specs[number] = spec
        if unknown:
            for row in await self._statements.queries(unknown):
                self._specs[row["id"]] = query_from_raw(row).spec

    def _judge(self, submission: Submission, bench: Bench) -> _Accepted | Again | DomainError:
        call = (submission.annotator, submission.request_id)
        try:
            if call in self._calls:
                content, outcome = self._calls[call]
                if content != submission.content:
                    raise reused(submission.request_id)
                return Again(tuple(json.loads(outcome)))
            self._require_fitting(submission)
            purposes = bench.accept(submission)
        except DomainError as error:
            return error
        accepted = self._note(submission, purposes)
        outcome = json.dumps(list(range(accepted.first, self._sequence + 1)))
        self._calls[call] = (submission.content, outcome)
        self._outcomes.append(Outcome(*call, submission.content, outcome, submission.client))
        return accepted

    def _require_fitting(self, submission: Submission) -> None:
        rules = self._project.rules
        for number, vote in enumerate(submission.votes):
            checked_answer(
                vote.answer,
                task_kind=rules.task_kind,
                classes=rules.classes,
                field=f"answers[{number}]",
            )

    def _note(self, submission: Submission, purposes: list[Purpose]) -> _Accepted:
        """Put down the labels of a submission to be written."""
        facts, first, call = self._facts, self._sequence + 1, len(self._outcomes)
        seen = []
        for vote, purpose in zip(submission.votes, purposes, strict=True):
            self._sequence += 1
            verdict, asked = vote.answer.verdict, self._asked[vote.query]
            facts.queries.append(vote.query)
            facts.calls.append(call)
            facts.verdicts.append(verdict.value if verdict else None)
            facts.class_names.append(vote.answer.class_name)
            facts.seconds.append(vote.seconds)
            facts.purposes.append(purpose.value)
            facts.tags.append(json.dumps(vote.tags) if vote.tags else None)
            seen.append((asked.state, asked.votes))
        return _Accepted(submission, first, purposes, seen)

    def _labels(self, accepted: _Accepted) -> list[Label]:
        """Return the labels of a submission as their annotator sees them."""
        submission, time = accepted.submission, time_from_raw(self._now)
        answered = zip(submission.votes, accepted.purposes, accepted.seen, strict=True)
        labels = [
            Label(
                sequence=accepted.first + number,
                query=self._query(vote.query, state, votes),
                annotator=submission.annotator,
                answer=vote.answer,
                seconds=vote.seconds,
                client=submission.client,
                create_time=time,
                retracted=False,
                purpose=purpose,
                tags=vote.tags,
            )
            for number, (vote, purpose, (state, votes)) in enumerate(answered)
        ]
        return [submission.reader.label(label, self._project) for label in labels]

    def _query(self, number: int, state: QueryState, votes: int) -> Query:
        row = self._rows[number]
        return Query(
            id=number,
            spec=self._specs[number],
            state=state,
            votes=votes,
            create_time=time_from_raw(row.create_time),
            skips=row.skips,
        )


def settled(query: Asked, rules: Rules) -> QueryState:
    """Return the state of a query that has just got a vote."""
    if needs_content(rules):
        outcome = consensus(query.ballots, rules)
        if outcome.decided or outcome.disputed:
            return QueryState.DECIDED if outcome.decided else QueryState.DISPUTED
    elif query.votes >= rules.votes_needed:
        return QueryState.DECIDED
    held = query.votes + query.leases >= rules.votes_needed
    return QueryState.HELD if held else QueryState.OPEN


def _standing(query: Asked) -> Standing:
    return Standing(query.id, query.votes, query.leases, query.state.value)
