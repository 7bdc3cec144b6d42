"""Consensus under a model of the annotators, which is fitted to all votes together."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parfocal_labels.answers import UNSURE, Answer
from parfocal_labels.ballots import BallotTable
from parfocal_labels.consensus import Ballot, Consensus, TieRule
from parfocal_labels.dawid_skene import fit, identifiable
from parfocal_runtime.tasks import in_thread

# Probabilities of answers that mirror each other differ by less than this.
_EQUAL = 1e-9
_MODELS_KEPT = 8


@dataclass(frozen=True, eq=False)
class Posterior:
    """The most probable answers of queries.

    Attributes:
        query_ids: The queries that the votes tell something of, in order; shape (queries,),
            int64.
        choices: The answers.
        leading: The most probable answer, an index into `choices`; shape (queries,), int64.
        probabilities: Its probability; shape (queries,), float64.
        ties: By row, all answers that are as probable, where there are several.
    """

    query_ids: NDArray[np.int64]
    choices: tuple[Answer, ...]
    leading: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ties: dict[int, frozenset[Answer]]

    @classmethod
    def of(cls, votes: BallotTable) -> Posterior:
        """Return what `votes` say together."""
        telling = identifiable(votes)
        if not len(telling.query_ids):
            return cls.from_probabilities(telling.query_ids, (), np.empty((0, 1)))
        model = fit(telling)
        return cls.from_probabilities(telling.query_ids, telling.choices, model.posterior)

    @classmethod
    def from_probabilities(
        cls,
        query_ids: NDArray[np.int64],
        choices: tuple[Answer, ...],
        probabilities: NDArray[np.float64],
    ) -> Posterior:
        """Return what is most probable, given the probability of each answer of each query.

        Args:
            query_ids: The queries, in order; shape (queries,), int64.
            choices: The answers.
            probabilities: Of shape (queries, choices), float64.
        """
        most = probabilities.max(axis=1)
        is_leading = probabilities >= most[:, None] - _EQUAL
        ties = {
            int(row): frozenset(choices[number] for number in np.flatnonzero(is_leading[row]))
            for row in np.flatnonzero(is_leading.sum(axis=1) > 1)
        }
        return cls(query_ids, choices, probabilities.argmax(axis=1), most, ties)

    def weigh(
        self, query: int, ballots: Sequence[Ballot], majority: Consensus, tie_rule: TieRule
    ) -> Consensus:
        """Return the consensus of a query, with the answer that is most probable.

        The majority stays where a curator decided, where the query waits for votes, and where
        the votes tell nothing of those who gave them; the probability is NaN then.

        Args:
            query: The query.
            ballots: The votes that stand on it, earliest first.
            majority: What they add up to by their number.
            tie_rule: What becomes of answers that are equally probable.
        """
        row = int(np.searchsorted(self.query_ids, query))
        known = row < len(self.query_ids) and self.query_ids[row] == query
        if not known or majority.adjudicated or not majority.decided:
            return majority
        answer, probability = self.choices[self.leading[row]], float(self.probabilities[row])
        if row in self.ties:
            if tie_rule is TieRule.EARLIEST:
                answer = _first_of(self.ties[row], ballots)
            else:
                answer, probability = UNSURE, math.nan
        agreeing = sum(ballot.answer == answer for ballot in ballots)
        return replace(majority, answer=answer, agreeing=agreeing, probability=probability)


def _first_of(leading: frozenset[Answer], ballots: Sequence[Ballot]) -> Answer:
    """Return the answer that was given first; the model may prefer some that nobody gave here."""
    given = (ballot.answer for ballot in ballots if ballot.answer in leading)
    return next(given, min(leading, key=repr))


class RecentPosteriors:
    """Posteriors that were asked for lately, because a list is read page by page."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Posterior] = OrderedDict()

    async def find(self, key: Hashable, votes: Callable[[], Awaitable[BallotTable]]) -> Posterior:
        """Return the posterior called `key`, from `votes` where it is not at hand.

        Args:
            key: Names the votes: never the same for others.
            votes: Reads them.
        """
        if key not in self._kept:
            self._kept[key] = await in_thread(Posterior.of, await votes())
        self._kept.move_to_end(key)
        while len(self._kept) > _MODELS_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]
