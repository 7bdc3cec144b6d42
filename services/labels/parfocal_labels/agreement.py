"""How far people agree who judged the same queries.

Reference: J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological
Bulletin 76 (1971) 378-382.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

TOO_FEW_VOTES = "no query has two votes"
ONE_ANSWER = "all votes are the same answer, so chance alone explains the agreement"


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
        undefined_reason: Why a figure is NaN; empty where both are defined.
    """

    queries: int
    pairwise: float
    fleiss_kappa: float
    undefined_reason: str


def agreement(votes: Iterable[Sequence[Hashable]]) -> Agreement:
    """Return the agreement of `votes`: one sequence of answers for each query."""
    counts = [Counter(answers) for answers in votes if len(answers) >= 2]
    if not counts:
        return Agreement(0, math.nan, math.nan, TOO_FEW_VOTES)
    agreeing = sum(_pairs(count) for counter in counts for count in counter.values())
    pairs = sum(_pairs(counter.total()) for counter in counts)
    kappa = fleiss_kappa(_most_frequent_size(counts))
    reason = ONE_ANSWER if math.isnan(kappa) else ""
    return Agreement(len(counts), agreeing / pairs, kappa, reason)


def fleiss_kappa(counts: Sequence[Counter[Hashable]]) -> float:
    """Return Fleiss' kappa.

    Args:
        counts: How many people gave which answer, one counter for each query; all have the
            same total, at least 2.

    Returns:
        Kappa, or NaN where every vote is the same answer.
    """
    answers = sum(counts, Counter[Hashable]())
    if len(answers) < 2:
        return math.nan
    raters = counts[0].total()
    agreeing = sum(_pairs(count) for counter in counts for count in counter.values())
    observed = agreeing / (_pairs(raters) * len(counts))
    expected = sum((count / answers.total()) ** 2 for count in answers.values())
    return (observed - expected) / (1.0 - expected)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _most_frequent_size(counts: Sequence[Counter[Hashable]]) -> list[Counter[Hashable]]:
    sizes = Counter(counter.total() for counter in counts)
    size = max(sizes, key=lambda votes: (sizes[votes], votes))
    return [counter for counter in counts if counter.total() == size]
