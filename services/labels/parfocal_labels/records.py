"""The things the label store keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from parfocal_labels.answers import Answer, TaskKind
from parfocal_labels.consensus import Consensus, ConsensusRule
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput

MAX_VOTES = 99


@dataclass(frozen=True)
class Rules:
    """The rules of a project.

    Attributes:
        task_kind: What is asked.
        classes: The classes to choose from, in display order; none in a project that verifies.
        votes_needed: Votes before a query is decided, 1 to 99.
        consensus_rule: How votes become a consensus.

    Raises:
        InvalidInput: If they contradict each other (`ERROR_REASON_INVALID_FIELD`).
    """

    task_kind: TaskKind
    classes: tuple[str, ...] = ()
    votes_needed: int = 1
    consensus_rule: ConsensusRule = ConsensusRule.FIRST_VOTE

    def __post_init__(self) -> None:
        if not 1 <= self.votes_needed <= MAX_VOTES:
            raise _invalid("votes_needed", f"must be 1 to {MAX_VOTES}", self.votes_needed)
        if bool(self.classes) != (self.task_kind is TaskKind.CLASSIFY):
            raise _invalid("classes", "must be given for CLASSIFY, and only then", self.classes)
        if len(set(self.classes)) < len(self.classes):
            raise _invalid("classes", "must differ from each other", self.classes)

    def changed_to(self, other: Rules) -> Rules:
        """Return `other` if a project with labels can go over to it.

        Raises:
            InvalidInput: If it asks for something else or has lost a class
                (`ERROR_REASON_INVALID_FIELD`).
        """
        if other.task_kind is not self.task_kind:
            raise _invalid("task_kind", "cannot change", other.task_kind.value)
        if not set(self.classes) <= set(other.classes):
            raise _invalid("classes", f"must keep all of {list(self.classes)}", other.classes)
        return other


def _invalid(name: str, demand: str, value: object) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"project.{name} {demand}, got {value!r}",
        field=f"project.{name}",
        value=value,
    )


@dataclass(frozen=True)
class Project:
    """One labelling effort.

    Attributes:
        id: Number in the database.
        name: Its name.
        display_name: What people call it.
        rules: Its rules.
        revision: Counts its changes, from 1.
        last_sequence: Its last label event; 0 before the first.
        create_time: When it was created.
        update_time: When it last changed.
    """

    id: int
    name: str
    display_name: str
    rules: Rules
    revision: int
    last_sequence: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class ProjectChange:
    """New values for some fields of a project; None keeps what is there."""

    display_name: str | None = None
    classes: tuple[str, ...] | None = None
    votes_needed: int | None = None
    consensus_rule: ConsensusRule | None = None

    def applied_to(self, rules: Rules) -> Rules:
        """Return `rules` with the new values, checked as `Rules.changed_to` does."""
        given: dict[str, Any] = {
            "classes": self.classes,
            "votes_needed": self.votes_needed,
            "consensus_rule": self.consensus_rule,
        }
        values = {name: value for name, value in given.items() if value is not None}
        return rules.changed_to(replace(rules, **values))


class Role(Enum):
    """Why a query is in the queue: chosen by the strategy, or part of the random share."""

    STRATEGY = "strategy"
    RANDOM = "random"


class QueryState(Enum):
    """What becomes of a query.

    `HELD` is open too, but leases promise all the votes that are missing.
    """

    OPEN = "open"
    HELD = "held"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model."""

    name: str
    version: int


@dataclass(frozen=True)
class QuerySpec:
    """What makes a query; nothing of it changes later.

    Attributes:
        round: The round that asks.
        candidate_set: Name of the candidate set.
        candidate: Number in the set, from 0.
        rank: Place in the round's order, from 0; lower ranks come first.
        priority: Higher priorities come first, before any rank.
        role: Why it is in the queue.
        strategy: The strategy that chose it.
        reason: Why it was chosen, a JSON object.
        model: The model version that proposed the candidate.
        image: Path of the image array it lies in.
        box: Where in that array.
        patches: Path of the Zarr group with its patches.
    """

    round: str
    candidate_set: str
    candidate: int
    rank: int
    priority: int = 0
    role: Role = Role.STRATEGY
    strategy: str = ""
    reason: str = ""
    model: ModelVersion | None = None
    image: str = ""
    box: Box | None = None
    patches: str = ""


@dataclass(frozen=True)
class Query:
    """A candidate put to people in a round.

    Attributes:
        id: Number in the database, part of its name.
        spec: What it asks.
        state: What becomes of it.
        votes: Votes that count so far.
        create_time: When it was added.
    """

    id: int
    spec: QuerySpec
    state: QueryState
    votes: int
    create_time: datetime


@dataclass(frozen=True)
class Lease:
    """A query held by one annotator until a time."""

    query: Query
    expire_time: datetime


@dataclass(frozen=True)
class Vote:
    """What somebody answers to a query, before it is acknowledged.

    Attributes:
        query: Number of the query.
        answer: The answer.
        seconds: Seconds spent; 0 where not measured.
    """

    query: int
    answer: Answer
    seconds: float = 0.0


@dataclass(frozen=True)
class Label:
    """One person's answer to one query, acknowledged.

    Attributes:
        sequence: The event that brought it, part of its name.
        query: The query it answers.
        annotator: Who answered.
        answer: The answer.
        seconds: Seconds spent; 0 where not measured.
        client: The program that sent it.
        create_time: When it was acknowledged.
        retracted: Whether it was taken back.
    """

    sequence: int
    query: Query
    annotator: str
    answer: Answer
    seconds: float
    client: str
    create_time: datetime
    retracted: bool


class EventKind(Enum):
    """What happened to a label."""

    SUBMITTED = "submitted"
    RETRACTED = "retracted"


@dataclass(frozen=True)
class LabelEvent:
    """Something that happened to a label, at its place in the project's history."""

    sequence: int
    kind: EventKind
    label: Label
    create_time: datetime


@dataclass(frozen=True)
class QueryConsensus:
    """A query and what its labels add up to."""

    query: Query
    consensus: Consensus


@dataclass(frozen=True)
class Snapshot:
    """An immutable export of consensus labels, named by its content.

    Attributes:
        project: Name of the project.
        sha256: SHA-256 of the Parquet file, hexadecimal.
        path: Path of the file in the object store.
        rows: Decided queries in it.
        last_sequence: The last label event it takes in.
        create_time: When it was first made.
    """

    project: str
    sha256: str
    path: str
    rows: int
    last_sequence: int
    create_time: datetime


@dataclass(frozen=True)
class Progress:
    """Counts of a project or one of its rounds.

    Attributes:
        queries: Queries that are not withdrawn.
        decided: Queries with all the votes they need.
        leased: Leases that people hold now.
        labels: Labels that count.
        last_sequence: The project's last label event.
        median_seconds: Median seconds spent on a label; NaN where none was measured.
    """

    queries: int
    decided: int
    leased: int
    labels: int
    last_sequence: int
    median_seconds: float
