"""What the votes of a query add up to under the rule of its project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

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


@dataclass(frozen=True)
class Consensus:
    """What the votes of one query add up to.

    Attributes:
        decided: Whether the query has all the votes it needs.
        answer: The answer; None where not decided.
        votes: Votes that count.
        agreeing: Votes for the answer; for a tie, votes for each of the leading answers.
    """

    decided: bool
    answer: Answer | None
    votes: int
    agreeing: int


def consensus(answers: Sequence[Answer], *, rule: ConsensusRule, votes_needed: int) -> Consensus:
    """Return the consensus of `answers`, which stand in the order in which they were given."""
    if len(answers) < votes_needed:
        return Consensus(decided=False, answer=None, votes=len(answers), agreeing=0)
    counts = Counter(answers)
    if rule is ConsensusRule.FIRST_VOTE:
        answer = answers[0]
        return Consensus(True, answer, votes=len(answers), agreeing=counts[answer])
    most = max(counts.values())
    leading = [answer for answer, count in counts.items() if count == most]
    answer = leading[0] if len(leading) == 1 else UNSURE
    return Consensus(True, answer, votes=len(answers), agreeing=most)
