"""Consensus under a model of the annotators, which is fitted to all votes together."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
    """The probabilities of the answers of queries.

    Attributes:
        query_ids: The queries that the votes tell something of, in order.
        choices: The answers.
        probabilities: Of each answer of each query; shape (queries, choices), float64.
    """

    query_ids: tuple[int, ...]
    choices: tuple[Answer, ...]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, votes: BallotTable) -> Posterior:
        """Return what `votes` say together."""
        telling = identifiable(votes)
        if not telling.query_ids:
            return cls((), (), np.empty((0, 0)))
        return cls(telling.query_ids, telling.choices, fit(telling).posterior)

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
        row = self._rows.get(query)
        if row is None or majority.adjudicated or not majority.decided:
            return majority
        probabilities = self.probabilities[row]
        most = float(probabilities.max())
        leading = {
            self.choices[number] for number in np.flatnonzero(probabilities >= most - _EQUAL)
        }
        answer = _first_of(leading, ballots)
        if len(leading) > 1 and tie_rule is not TieRule.EARLIEST:
            answer, most = UNSURE, math.nan
        agreeing = sum(ballot.answer == answer for ballot in ballots)
        return replace(majority, answer=answer, agreeing=agreeing, probability=most)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {query: row for row, query in enumerate(self.query_ids)}


def _first_of(leading: set[Answer], ballots: Sequence[Ballot]) -> Answer:
    """Return the answer that was given first; the model may prefer one that nobody gave here."""
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
