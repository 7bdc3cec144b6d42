"""How far people agree who judged the same queries.

References: J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological
Bulletin 76 (1971) 378-382; K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011),
for nominal data with missing values. Intervals: `resampling`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_labels.answers import Answer
from parfocal_labels.ballots import BallotTable
from parfocal_labels.resampling import UNDEFINED, Interval, Resampling, interval

TOO_FEW_VOTES = "no query has two votes"
ONE_ANSWER = "all votes are the same answer, so chance alone explains the agreement"
ONE_QUERY = "a figure rests on one query, so nothing tells how far it would vary"


@dataclass(frozen=True)
class AnswerAgreement:
    """Agreement on one answer against all others.

    Attributes:
        answer: The answer.
        votes: Votes for it, on queries with two votes or more.
        krippendorff_alpha: Alpha of this answer against all others; NaN where undefined.
        interval: Its 95 % interval.
    """

    answer: Answer
    votes: int
    krippendorff_alpha: float
    interval: Interval


@dataclass(frozen=True)
class AnnotatorAgreement:
    """Agreement of one annotator with the others.

    Attributes:
        annotator: Who.
        votes: Their votes on queries that others voted on too.
        pairwise: Share of the others' votes that equal theirs, averaged over these queries.
        interval: Its 95 % interval.
    """

    annotator: str
    votes: int
    pairwise: float
    interval: Interval


@dataclass(frozen=True)
class Agreement:
    """Agreement over a set of queries.

    Attributes:
        queries: Queries with at least two votes.
        pairwise: Share of agreeing pairs among all pairs of votes on the same query, 0 to 1;
            NaN where there is no pair.
        fleiss_kappa: Agreement beyond chance, at most 1, over the queries that have the most
            frequent number of votes (the higher one where two are as frequent), because the
            statistic is defined for equal numbers only; NaN where undefined.
        fleiss_kappa_interval: Its 95 % interval.
        krippendorff_alpha: Agreement beyond chance, at most 1, over all queries with two votes
            or more; NaN where undefined.
        krippendorff_alpha_interval: Its 95 % interval.
        answers: Agreement on each answer that was given.
        annotators: Agreement of each annotator with the others.
        undefined_reason: Why a figure is NaN; empty where all are defined.
    """

    queries: int
    pairwise: float
    fleiss_kappa: float
    fleiss_kappa_interval: Interval
    krippendorff_alpha: float
    krippendorff_alpha_interval: Interval
    answers: tuple[AnswerAgreement, ...]
    annotators: tuple[AnnotatorAgreement, ...]
    undefined_reason: str


@dataclass(frozen=True, eq=False)
class _Cells:
    """How often which answer was given to which query; what is not listed was not given.

    Attributes:
        table: The votes, all on queries with two votes or more.
        sizes: Votes on each query; shape (queries,).
        queries: The query of each cell; shape (cells,).
        answers: The answer of each cell; shape (cells,).
        counts: Votes in each cell; shape (cells,).
        of_votes: The cell of each vote; shape (votes,).
    """

    table: BallotTable
    sizes: NDArray[np.int64]
    queries: NDArray[np.int64]
    answers: NDArray[np.int64]
    counts: NDArray[np.int64]
    of_votes: NDArray[np.int64]

    @classmethod
    def of(cls, table: BallotTable) -> _Cells:
        keys, of_votes, counts = np.unique(
            table.queries * max(len(table.choices), 1) + table.answers,
            return_inverse=True,
            return_counts=True,
        )
        queries, answers = np.divmod(keys, max(len(table.choices), 1))
        return cls(table, table.sizes, queries, answers, counts, of_votes)

    def totals(self, resampling: Resampling, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the totals of values of cells by answer; see `Resampling.totals`."""
        count = len(self.table.choices)
        return resampling.totals(self.queries, self.answers, values, count=count)


def agreement(votes: BallotTable, *, seed: int = 0) -> Agreement:
    """Return the agreement of `votes`.

    Args:
        votes: Votes, one for each annotator and query at most.
        seed: Of the resamples that intervals come from.
    """
    cells = _Cells.of(votes.contested())
    queries = len(cells.sizes)
    if not queries:
        nothing = (math.nan, UNDEFINED)
        return Agreement(0, math.nan, *nothing, *nothing, (), (), TOO_FEW_VOTES)
    resampling = Resampling.of(queries, seed=seed)
    kappa = _figure(_fleiss_kappas(_of_most_frequent_size(cells), seed=seed))
    alphas, answers = _krippendorff_alphas(cells, resampling)
    alpha = _figure(alphas)
    annotators = _of_annotators(cells, resampling)
    figures = [kappa, alpha]
    figures += [(each.krippendorff_alpha, each.interval) for each in answers]
    figures += [(each.pairwise, each.interval) for each in annotators]
    pairwise = float(_pairs(cells.counts).sum() / _pairs(cells.sizes).sum())
    reason = _undefined_reason(figures)
    return Agreement(queries, pairwise, *kappa, *alpha, answers, annotators, reason)


def _of_most_frequent_size(cells: _Cells) -> _Cells:
    frequencies = np.bincount(cells.sizes)
    size = len(frequencies) - 1 - frequencies[::-1].argmax()
    wanted = cells.sizes[cells.table.queries] == size
    return cells if wanted.all() else _Cells.of(cells.table.only(wanted))


def _fleiss_kappas(cells: _Cells, *, seed: int) -> NDArray[np.float64]:
    """Return Fleiss' kappa of the queries as they are and of each resample of them."""
    resampling = Resampling.of(len(cells.sizes), seed=seed)
    answers = cells.totals(resampling, cells.counts.astype(np.float64))
    agreeing = cells.totals(resampling, _pairs(cells.counts)).sum(axis=1)
    votes = answers.sum(axis=1)
    observed = agreeing / (votes * (cells.sizes[0] - 1) / 2)
    by_chance = (answers**2).sum(axis=1) / votes**2
    return _quotient(observed - by_chance, np.where(_one_answer(answers), 0.0, 1.0 - by_chance))


def _krippendorff_alphas(
    cells: _Cells, resampling: Resampling
) -> tuple[NDArray[np.float64], tuple[AnswerAgreement, ...]]:
    """Return alpha, for the queries as they are and each resample, and alpha of each answer."""
    others = cells.sizes[cells.queries] - cells.counts
    differing = cells.counts * others / (cells.sizes[cells.queries] - 1)
    given = cells.totals(resampling, cells.counts.astype(np.float64))
    disagreeing = cells.totals(resampling, differing)
    votes = given.sum(axis=1, keepdims=True)
    by_chance = given * (votes - given)
    alphas = 1.0 - _quotient(disagreeing * (votes - 1), by_chance)
    overall = _quotient(disagreeing.sum(axis=1) * (votes[:, 0] - 1), by_chance.sum(axis=1))
    spread = np.bincount(cells.answers)
    return 1.0 - overall, tuple(
        AnswerAgreement(
            choice,
            int(given[0, number]),
            *_figure(alphas[:, number], queries=spread[number]),
        )
        for number, choice in enumerate(cells.table.choices)
    )


def _of_annotators(cells: _Cells, resampling: Resampling) -> tuple[AnnotatorAgreement, ...]:
    table = cells.table
    equal = (cells.counts[cells.of_votes] - 1) / (cells.sizes[table.queries] - 1)
    count = len(table.names)
    shares = resampling.totals(table.queries, table.annotators, equal, count=count)
    ones = np.ones(len(table.queries))
    votes = resampling.totals(table.queries, table.annotators, ones, count=count)
    pairwise = _quotient(shares, votes)
    return tuple(
        AnnotatorAgreement(
            name,
            int(votes[0, number]),
            *_figure(pairwise[:, number], queries=votes[0, number]),
        )
        for number, name in enumerate(table.names)
    )


def _figure(values: NDArray[np.float64], *, queries: float = math.inf) -> tuple[float, Interval]:
    """Return a figure and its interval from its value in the sample and in the resamples.

    A figure of one of the queries only would be the same in all resamples that have it.
    """
    return float(values[0]), interval(values[1:]) if queries > 1 else UNDEFINED


def _undefined_reason(figures: list[tuple[float, Interval]]) -> str:
    reasons = []
    if any(math.isnan(value) for value, _ in figures):
        reasons.append(ONE_ANSWER)
    if any(math.isnan(ends.low) and not math.isnan(value) for value, ends in figures):
        reasons.append(ONE_QUERY)
    return "; ".join(reasons)


def _pairs(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return counts * (counts - 1) / 2


def _one_answer(given: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where all votes are the same answer; `given` is of shape (resamples, answers)."""
    one: NDArray[np.bool_] = np.count_nonzero(given, axis=1) < 2
    return one


def _quotient(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the quotient; NaN where the denominator is 0."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, math.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
