"""What the votes of a query add up to under the rules of its project."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple, Protocol

from parfocal_labels.answers import UNSURE, Answer


class ConsensusRule(Enum):
    """How votes become a consensus.

    `FIRST_VOTE`: the earliest vote that stands decides. `MAJORITY`: the answer with most votes
    decides, "unsure" being an answer as any other. `N_OF_M`: the first answer with
    `votes_to_agree` votes decides, at once. `DAWID_SKENE`: as many votes as for a majority
    decide the query; what they say follows from the labels of all queries together.
    """

    FIRST_VOTE = "first_vote"
    MAJORITY = "majority"
    N_OF_M = "n_of_m"
    DAWID_SKENE = "dawid_skene"


class TieRule(Enum):
    """What becomes of a query whose votes are all in but agree on no answer.

    `UNSURE`: it is decided as "unsure". `EARLIEST`: of the leading answers, the one given first
    decides. `ADJUDICATE`: it is disputed until a curator adjudicates.
    """

    UNSURE = "unsure"
    EARLIEST = "earliest"
    ADJUDICATE = "adjudicate"


class VotingRules(Protocol):
    """The rules of a project, as far as a consensus depends on them."""

    @property
    def consensus_rule(self) -> ConsensusRule:
        """How votes become a consensus."""

    @property
    def votes_needed(self) -> int:
        """Votes that decide a query, at most."""

    @property
    def votes_to_agree(self) -> int:
        """Equal votes that decide a query under `N_OF_M`."""

    @property
    def tie_rule(self) -> TieRule:
        """What a tie becomes."""


class Ballot(NamedTuple):
    """A vote that stands: who gave which answer."""

    annotator: str
    answer: Answer


@dataclass(frozen=True)
class Consensus:
    """What the votes of one query add up to.

    Attributes:
        decided: Whether the query needs no more votes.
        answer: The answer; None where not decided.
        votes: Votes that count.
        agreeing: Votes for the answer; in a tie, votes for each of the leading answers.
        disputed: Whether all votes are in and a curator has to decide.
        adjudicated: Whether a curator decided.
        probability: Of the answer, where a model of the annotators gives one; else NaN.
    """

    decided: bool
    answer: Answer | None
    votes: int
    agreeing: int
    disputed: bool = False
    adjudicated: bool = False
    # NaN differs from itself, and two that lack a probability are alike in that.
    probability: float = field(default=math.nan, compare=False)


def needs_content(rules: VotingRules) -> bool:
    """Return whether the state of a query depends on what its votes say, not only on how many."""
    if rules.consensus_rule is ConsensusRule.MAJORITY:
        return rules.tie_rule is TieRule.ADJUDICATE
    return rules.consensus_rule is ConsensusRule.N_OF_M


def consensus(
    ballots: Sequence[Ballot], rules: VotingRules, *, adjudication: Answer | None = None
) -> Consensus:
    """Return what the votes of one query add up to.

    Under `DAWID_SKENE` this is the majority; `dawid_skene.posterior` tells the answer where there
    are enough votes for it.

    Args:
        ballots: The votes that stand, earliest first.
        rules: The rules of the project.
        adjudication: The last word of a curator, which overrides all votes; None without.
    """
    counts = Counter(ballot.answer for ballot in ballots)
    if adjudication is not None:
        decided = _decided(counts, adjudication)
        return replace(decided, adjudicated=True)
    if rules.consensus_rule is ConsensusRule.N_OF_M:
        return _n_of_m(ballots, counts, rules)
    if len(ballots) < rules.votes_needed:
        return _undecided(counts)
    if rules.consensus_rule is ConsensusRule.FIRST_VOTE:
        return _decided(counts, ballots[0].answer)
    leading = _leading(counts)
    return _tie(counts, rules) if len(leading) > 1 else _decided(counts, leading[0])


def _n_of_m(ballots: Sequence[Ballot], counts: Counter[Answer], rules: VotingRules) -> Consensus:
    agreeing = Counter[Answer]()
    for ballot in ballots:
        agreeing[ballot.answer] += 1
        if agreeing[ballot.answer] == rules.votes_to_agree:
            return _decided(counts, ballot.answer)
    return _tie(counts, rules) if len(ballots) >= rules.votes_needed else _undecided(counts)


def _tie(counts: Counter[Answer], rules: VotingRules) -> Consensus:
    leading = _leading(counts)
    most = counts[leading[0]]
    if rules.tie_rule is TieRule.ADJUDICATE:
        return Consensus(False, None, counts.total(), most, disputed=True)
    answer = leading[0] if rules.tie_rule is TieRule.EARLIEST else UNSURE
    return Consensus(True, answer, counts.total(), most)


def _leading(counts: Counter[Answer]) -> list[Answer]:
    """Return the answers with most votes, the one given first in front."""
    most = max(counts.values())
    return [answer for answer, count in counts.items() if count == most]


def _decided(counts: Counter[Answer], answer: Answer) -> Consensus:
    return Consensus(True, answer, votes=counts.total(), agreeing=counts[answer])


def _undecided(counts: Counter[Answer]) -> Consensus:
    return Consensus(False, None, votes=counts.total(), agreeing=0)
