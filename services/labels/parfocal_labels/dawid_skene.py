"""What the labels of many annotators say together, and how reliable each of them is.

Every annotator has a table of confusion: how often they give which answer where another one is
right. Expectation maximisation finds the tables under which the votes are most likely, and with
them the probability of each answer of each query.

Reference: A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates
using the EM algorithm", Applied Statistics 28 (1979) 20-28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_labels.ballots import BallotTable

# Added to every count of a table, so that what an annotator did not do yet is not impossible.
SMOOTHING = 0.01
_TOLERANCE = 1e-5
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class DawidSkene:
    """A model of annotators, fitted to their votes.

    Attributes:
        posterior: Probability of each answer of each query; shape (queries, answers), float64.
        prevalence: How often each answer is right; shape (answers,), float64.
        confusion: How often an annotator gives an answer where another one is right; shape
            (annotators, right answers, given answers), float64.
        steps: Steps that it took.
        converged: Whether the last step changed the probabilities of a query by less than 0.00001
            on average.
    """

    posterior: NDArray[np.float64]
    prevalence: NDArray[np.float64]
    confusion: NDArray[np.float64]
    steps: int
    converged: bool


def fit(votes: BallotTable, *, smoothing: float = SMOOTHING) -> DawidSkene:
    """Return the model of the annotators of `votes`.

    It starts from the share of votes for each answer, so the same votes give the same model.
    Memory and the time of a step grow with votes times answers, and the tables with annotators
    times answers squared.

    Args:
        votes: The votes, one at least; an annotator may vote on a query more than once.
        smoothing: What is added to each count before it becomes a share.
    """
    # Answers come first inside, so that the queries of an answer lie side by side in memory.
    posterior = _shares_of_votes(votes)
    steps, change = 0, np.inf
    while change > _TOLERANCE and steps < _MOST_STEPS:
        prevalence = _shares(posterior.sum(axis=1) + smoothing, axis=0)
        confusion = _shares(_confusion_counts(votes, posterior) + smoothing, axis=-1)
        before, posterior = posterior, _posterior(votes, prevalence, confusion)
        change = float(np.abs(posterior - before).sum(axis=0).mean())
        steps += 1
    return DawidSkene(posterior.T, prevalence, confusion, steps, bool(change <= _TOLERANCE))


def identifiable(votes: BallotTable) -> BallotTable:
    """Return the votes that tell something of an annotator's reliability.

    These are the votes of annotators who judged a query that somebody else judged too. Without
    such a query, or where everybody always gave the same answer, none is left: any reliability
    explains such votes equally well.
    """
    compared = np.unique(votes.annotators[votes.sizes[votes.queries] >= 2])
    linked = votes.only(np.isin(votes.annotators, compared))
    if len(linked.choices) < 2:
        return votes.only(np.zeros(len(votes.queries), dtype=bool))
    return linked


def _shares_of_votes(votes: BallotTable) -> NDArray[np.float64]:
    answers, queries = len(votes.choices), len(votes.query_ids)
    cells = votes.answers * queries + votes.queries
    counts = np.bincount(cells, minlength=answers * queries).reshape(answers, queries)
    return _shares(counts.astype(np.float64), axis=0)


def _confusion_counts(votes: BallotTable, posterior: NDArray[np.float64]) -> NDArray[np.float64]:
    annotators, answers = len(votes.names), len(votes.choices)
    given = votes.annotators * answers + votes.answers
    counts = np.empty((annotators, answers, answers))
    for right, probability in enumerate(posterior):
        weights = probability[votes.queries]
        summed = np.bincount(given, weights=weights, minlength=annotators * answers)
        counts[:, right, :] = summed.reshape(annotators, answers)
    return counts


def _posterior(
    votes: BallotTable, prevalence: NDArray[np.float64], confusion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probabilities of the answers, worked out as logarithms lest they vanish."""
    answers, queries = len(votes.choices), len(votes.query_ids)
    given = votes.annotators * answers + votes.answers
    likelihood = np.log(confusion)
    log = np.empty((answers, queries))
    for right in range(answers):
        weights = likelihood[:, right, :].ravel()[given]
        log[right] = np.bincount(votes.queries, weights=weights, minlength=queries)
    log += np.log(prevalence)[:, None]
    log -= log.max(axis=0)
    return _shares(np.exp(log), axis=0)


def _shares(counts: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum(axis=axis, keepdims=True)
    return shares
