from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.agreement import ONE_ANSWER, TOO_FEW_VOTES, agreement, fleiss_kappa

# Fleiss 1971 in the rendering of most textbooks: 10 subjects, 14 raters, 5 categories.
TEXTBOOK = [
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
]

votes = st.lists(st.lists(st.sampled_from("tfu"), max_size=5), max_size=12)


def test_kappa_of_the_textbook_example() -> None:
    counts = [+Counter[Hashable](dict(enumerate(row))) for row in TEXTBOOK]

    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_full_agreement_on_two_answers_is_one() -> None:
    figures = agreement(["tt", "ff", "tt"])

    assert (figures.queries, figures.pairwise, figures.fleiss_kappa) == (3, 1.0, 1.0)
    assert figures.undefined_reason == ""


def test_no_pair_of_votes_leaves_both_figures_undefined() -> None:
    figures = agreement(["t", "", "f"])

    assert figures.queries == 0
    assert math.isnan(figures.pairwise)
    assert math.isnan(figures.fleiss_kappa)
    assert figures.undefined_reason == TOO_FEW_VOTES


def test_one_answer_only_leaves_kappa_undefined() -> None:
    figures = agreement(["tt", "ttt"])

    assert figures.pairwise == 1.0
    assert math.isnan(figures.fleiss_kappa)
    assert figures.undefined_reason == ONE_ANSWER


def test_kappa_takes_the_most_frequent_number_of_votes() -> None:
    mixed = agreement(["tt", "ff", "tf", "tff", "ttt"])
    pairs_only = agreement(["tt", "ff", "tf"])

    assert mixed.queries == 5
    assert mixed.fleiss_kappa == pairs_only.fleiss_kappa


@given(votes)
def test_pairwise_agreement_is_the_share_of_equal_pairs(each: list[list[str]]) -> None:
    pairs = [a == b for answers in each for a, b in combinations(answers, 2)]

    figures = agreement(each)

    if pairs:
        assert figures.pairwise == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(figures.pairwise)


@given(votes)
def test_kappa_is_at_most_one_or_says_why_it_is_undefined(each: list[list[str]]) -> None:
    figures = agreement(each)

    if math.isnan(figures.fleiss_kappa):
        assert figures.undefined_reason
    else:
        assert -1 <= figures.fleiss_kappa <= 1 + 1e-12
