from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.ballots import BallotTable
from parfocal_labels.consensus import Ballot, Consensus, TieRule
from parfocal_labels.weighing import Posterior, RecentPosteriors

UNSURE_RULE, EARLIEST = TieRule.UNSURE, TieRule.EARLIEST
MAJORITY = Consensus(True, TRUE, votes=2, agreeing=1)


def posterior(*probabilities: float, choices: tuple[Answer, ...] = (FALSE, TRUE)) -> Posterior:
    """Return a posterior of the one query 5."""
    return Posterior.from_probabilities(np.array([5]), choices, np.array([probabilities]))


def ballots(*answers: Answer) -> list[Ballot]:
    return [Ballot(f"annotator-{number}", answer) for number, answer in enumerate(answers)]


def test_the_most_probable_answer_decides() -> None:
    votes = ballots(TRUE, FALSE)

    outcome = posterior(0.9, 0.1).weigh(5, votes, MAJORITY, UNSURE_RULE)

    assert outcome == Consensus(True, FALSE, votes=2, agreeing=1)
    assert outcome.probability == 0.9


def test_equal_probabilities_are_unsure_without_one() -> None:
    outcome = posterior(0.5, 0.5).weigh(5, ballots(TRUE, FALSE), MAJORITY, UNSURE_RULE)

    assert (outcome.answer, outcome.agreeing) == (UNSURE, 0)
    assert math.isnan(outcome.probability)


def test_the_earliest_of_equally_probable_answers_can_decide() -> None:
    outcome = posterior(0.5, 0.5).weigh(5, ballots(TRUE, FALSE), MAJORITY, EARLIEST)

    assert (outcome.answer, outcome.agreeing, outcome.probability) == (TRUE, 1, 0.5)


def test_the_model_may_prefer_an_answer_that_nobody_gave() -> None:
    outcome = posterior(0.9, 0.1).weigh(5, ballots(TRUE, TRUE), MAJORITY, UNSURE_RULE)

    assert (outcome.answer, outcome.agreeing) == (FALSE, 0)


@pytest.mark.parametrize(
    ("query", "majority"),
    [
        (6, MAJORITY),
        (5, Consensus(False, None, votes=1, agreeing=0)),
        (5, Consensus(True, TRUE, votes=0, agreeing=0, adjudicated=True)),
    ],
)
def test_what_the_model_does_not_know_or_decide_stays(query: int, majority: Consensus) -> None:
    outcome = posterior(0.9, 0.1).weigh(query, ballots(TRUE), majority, UNSURE_RULE)

    assert outcome is majority
    assert math.isnan(outcome.probability)


def test_votes_that_tell_nothing_make_an_empty_posterior() -> None:
    empty = Posterior.of(BallotTable.of([(1, "ada", TRUE)]))

    assert len(empty.query_ids) == 0
    assert empty.weigh(1, ballots(TRUE), MAJORITY, UNSURE_RULE) is MAJORITY


def test_the_same_votes_are_weighed_once() -> None:
    reads = []

    async def read() -> BallotTable:
        reads.append(1)
        return BallotTable.of([(1, "ada", TRUE), (1, "bob", FALSE)])

    async def twice() -> tuple[Posterior, Posterior, Posterior]:
        recent = RecentPosteriors()
        first = await recent.find("a", read)
        for number in range(8):
            again = await recent.find("a", read)
            await recent.find(number, read)
        await recent.find("b", read)
        for number in range(8):
            await recent.find(number, read)
        return first, again, await recent.find("a", read)

    first, again, forgotten = asyncio.run(twice())

    assert first is again
    assert forgotten is not first
