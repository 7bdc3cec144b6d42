"""The things the label store keeps.

Those that are made thousands of times a second are named tuples: a frozen dataclass of fifteen
fields takes five times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from parfocal_labels.answers import Answer, TaskKind
from parfocal_labels.consensus import Consensus, ConsensusRule, TieRule
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput

MAX_VOTES = 99
MAX_SHARE = 0.5
# A table of who takes which class for which is kept for each annotator.
MAX_MODELLED_CLASSES = 100


@dataclass(frozen=True)
class Rules:
    """The rules of a project.

    Attributes:
        task_kind: What is asked.
        classes: The classes to choose from, in display order; none in a project that verifies.
        votes_needed: Votes before a query is decided, 1 to 99.
        consensus_rule: How votes become a consensus.
        votes_to_agree: Equal votes that decide under `N_OF_M`; 0 under the other rules.
        tie_rule: What becomes of a query whose votes agree on no answer.
        gold_share: Share of hidden gold queries among what is handed out, 0 to 0.5.
        repeat_share: Share of hidden repeats among what is handed out, 0 to 0.5.
        blind: Whether annotators see neither hints nor what others answered.

    Raises:
        InvalidInput: If they contradict each other (`ERROR_REASON_INVALID_FIELD`).
    """

    task_kind: TaskKind
    classes: tuple[str, ...] = ()
    votes_needed: int = 1
    consensus_rule: ConsensusRule = ConsensusRule.FIRST_VOTE
    votes_to_agree: int = 0
    tie_rule: TieRule = TieRule.UNSURE
    gold_share: float = 0.0
    repeat_share: float = 0.0
    blind: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.votes_needed <= MAX_VOTES:
            raise _invalid("votes_needed", f"must be 1 to {MAX_VOTES}", self.votes_needed)
        if bool(self.classes) != (self.task_kind is TaskKind.CLASSIFY):
            raise _invalid("classes", "must be given for CLASSIFY, and only then", self.classes)
        if len(set(self.classes)) < len(self.classes):
            raise _invalid("classes", "must differ from each other", self.classes)
        if self.consensus_rule is ConsensusRule.N_OF_M:
            if not 1 <= self.votes_to_agree <= self.votes_needed:
                raise _invalid("votes_to_agree", "must be 1 to votes_needed", self.votes_to_agree)
        elif self.votes_to_agree:
            raise _invalid("votes_to_agree", "goes with N_OF_M only", self.votes_to_agree)
        if self.consensus_rule is ConsensusRule.DAWID_SKENE:
            self._check_model_of_annotators()
        for name in ("gold_share", "repeat_share"):
            if not 0.0 <= getattr(self, name) <= MAX_SHARE:
                raise _invalid(name, f"must be 0 to {MAX_SHARE}", getattr(self, name))

    def _check_model_of_annotators(self) -> None:
        if self.tie_rule is TieRule.ADJUDICATE:
            raise _invalid("tie_rule", "cannot be ADJUDICATE with DAWID_SKENE", "ADJUDICATE")
        if len(self.classes) > MAX_MODELLED_CLASSES:
            demand = f"must be at most {MAX_MODELLED_CLASSES} with DAWID_SKENE"
            raise _invalid("classes", demand, len(self.classes))

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
    votes_to_agree: int | None = None
    tie_rule: TieRule | None = None
    gold_share: float | None = None
    repeat_share: float | None = None
    blind: bool | None = None

    def applied_to(self, rules: Rules) -> Rules:
        """Return `rules` with the new values, checked as `Rules.changed_to` does."""
        given: dict[str, Any] = {
            "classes": self.classes,
            "votes_needed": self.votes_needed,
            "consensus_rule": self.consensus_rule,
            "votes_to_agree": self.votes_to_agree,
            "tie_rule": self.tie_rule,
            "gold_share": self.gold_share,
            "repeat_share": self.repeat_share,
            "blind": self.blind,
        }
        values = {name: value for name, value in given.items() if value is not None}
        if values.get("consensus_rule", rules.consensus_rule) is not ConsensusRule.N_OF_M:
            values["votes_to_agree"] = 0
        return rules.changed_to(replace(rules, **values))


class Role(Enum):
    """Why a query is in the queue.

    The strategy chose it, it is part of the random share, or its answer is known (`GOLD`).
    """

    STRATEGY = "strategy"
    RANDOM = "random"
    GOLD = "gold"


class QueryState(Enum):
    """What becomes of a query.

    `HELD` is open too, but leases promise all the votes that are missing. `DISPUTED` waits for
    a curator. `GOLD` is handed out apart from the others and never decided.
    """

    OPEN = "open"
    HELD = "held"
    DECIDED = "decided"
    DISPUTED = "disputed"
    WITHDRAWN = "withdrawn"
    GOLD = "gold"


class Purpose(Enum):
    """What a label counts for; only `VOTE` and `IMPORT` are part of a consensus by vote."""

    VOTE = "vote"
    GOLD = "gold"
    REPEAT = "repeat"
    ADJUDICATION = "adjudication"
    IMPORT = "import"


class ModelVersion(NamedTuple):
    """One version of a model."""

    name: str
    version: int


class QuerySpec(NamedTuple):
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
        skill: What an annotator must be able to do to be handed it; empty for nothing.
        gold: The right answer, of a gold query only.
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
    skill: str = ""
    gold: Answer | None = None


class Query(NamedTuple):
    """A candidate put to people in a round.

    Attributes:
        id: Number in the database, part of its name.
        spec: What it asks.
        state: What becomes of it.
        votes: Votes that count so far.
        create_time: When it was added.
        skips: How often it was skipped.
    """

    id: int
    spec: QuerySpec
    state: QueryState
    votes: int
    create_time: datetime
    skips: int = 0


class Lease(NamedTuple):
    """A query held by one annotator until a time."""

    query: Query
    expire_time: datetime


class Vote(NamedTuple):
    """What somebody answers to a query, before it is acknowledged.

    Attributes:
        query: Number of the query.
        answer: The answer.
        seconds: Seconds spent; 0 where not measured.
        tags: Free words.
    """

    query: int
    answer: Answer
    seconds: float = 0.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skip:
    """A query that somebody cannot or would not judge, and why."""

    query: int
    reason: str


class Label(NamedTuple):
    """One person's answer to one query, acknowledged.

    Attributes:
        sequence: The event that brought it, part of its name.
        query: The query it answers.
        annotator: Who answered.
        answer: The answer.
        seconds: Seconds spent; 0 where not measured.
        client: The program that sent it.
        create_time: When it was acknowledged.
        retracted: Whether it was taken back or replaced.
        purpose: What it counts for.
        tags: Free words of the annotator.
        revises: The label that it replaced; None for a first answer.
    """

    sequence: int
    query: Query
    annotator: str
    answer: Answer
    seconds: float
    client: str
    create_time: datetime
    retracted: bool
    purpose: Purpose = Purpose.VOTE
    tags: tuple[str, ...] = ()
    revises: int | None = None


class EventKind(Enum):
    """What happened to a label."""

    SUBMITTED = "submitted"
    RETRACTED = "retracted"
    REVISED = "revised"


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
        queries: Queries that are not withdrawn; gold is left out.
        decided: Queries with all the votes they need.
        leased: Leases that people hold now.
        labels: Labels that count.
        last_sequence: The project's last label event.
        median_seconds: Median seconds spent on a label; NaN where none was measured.
        disputed: Queries that wait for a curator.
        answers: How many of the decided ones are of which role, and decided as what; empty where
            that is not counted.
    """

    queries: int
    decided: int
    leased: int
    labels: int
    last_sequence: int
    median_seconds: float
    disputed: int = 0
    answers: Mapping[tuple[Role, Answer], int] = field(default_factory=dict)
