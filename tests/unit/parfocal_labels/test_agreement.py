from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.agreement import (
    ONE_ANSWER,
    ONE_QUERY,
    TOO_FEW_VOTES,
    Agreement,
    agreement,
)
from parfocal_labels.answers import Answer
from parfocal_labels.ballots import BallotTable
from parfocal_labels.resampling import MOST_UNITS

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
# Krippendorff 2011, example C: 4 observers, 12 units, some values missing.
OBSERVERS = {
    "A": "123321412...",
    "B": "1233224125.3",
    "C": ".3332342251.",
    "D": "12332441251.",
}

votes = st.lists(st.lists(st.sampled_from("tfu"), max_size=5), max_size=12)


def figures(answers: Iterable[Sequence[str]]) -> Agreement:
    """Return the agreement of answers to queries, given by annotators `a`, `b`, ... ."""
    return agreement(
        BallotTable.of(
            (query, chr(ord("a") + annotator), Answer(class_name=answer))
            for query, each in enumerate(answers)
            for annotator, answer in enumerate(each)
        )
    )


def observed() -> Agreement:
    return agreement(
        BallotTable.of(
            (unit, observer, Answer(class_name=value))
            for observer, values in OBSERVERS.items()
            for unit, value in enumerate(values)
            if value != "."
        )
    )


def simulated(
    queries: int, *, seed: int, right: float = 0.8, votes_on_each: int = 3
) -> BallotTable:
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=(queries, 1))
    given = truth ^ (random.random((queries, votes_on_each)) > right)
    choices = (Answer(class_name="f"), Answer(class_name="t"))
    numbers = np.arange(queries * votes_on_each)
    return BallotTable(
        numbers // votes_on_each,
        numbers % votes_on_each,
        given.ravel().astype(np.int64),
        np.arange(queries),
        tuple("abcdefgh"[:votes_on_each]),
        choices,
    )


def test_kappa_of_the_textbook_example() -> None:
    answers = ["".join(str(n) * count for n, count in enumerate(row)) for row in TEXTBOOK]

    assert figures(answers).fleiss_kappa == pytest.approx(0.210, abs=5e-4)


def test_alpha_of_krippendorffs_example() -> None:
    example = observed()

    assert example.queries == 11
    assert example.krippendorff_alpha == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_an_answer_is_alpha_of_that_answer_against_all_others() -> None:
    each = observed().answers[0]
    one_or_not = agreement(
        BallotTable.of(
            (unit, observer, Answer(class_name="one" if value == "1" else "other"))
            for observer, values in OBSERVERS.items()
            for unit, value in enumerate(values)
            if value != "."
        )
    )

    assert each.answer == Answer(class_name="1")
    assert each.votes == 9
    assert each.krippendorff_alpha == pytest.approx(one_or_not.krippendorff_alpha)


def test_an_annotator_agrees_with_so_many_of_the_others() -> None:
    # a agrees with 1 of 2 others, then with 1 of 1.
    each = figures(["ttf", "ff", "t"]).annotators

    assert [(one.annotator, one.votes) for one in each] == [("a", 2), ("b", 2), ("c", 1)]
    assert [one.pairwise for one in each] == [0.75, 0.75, 0.0]


def test_full_agreement_on_two_answers_is_one() -> None:
    full = figures(["tt", "ff", "tt"] * 10)

    assert (full.queries, full.pairwise) == (30, 1.0)
    assert (full.fleiss_kappa, full.krippendorff_alpha) == (1.0, 1.0)
    assert full.undefined_reason == ""


def test_no_pair_of_votes_leaves_every_figure_undefined() -> None:
    nothing = figures(["t", "", "f"])

    assert nothing.queries == 0
    assert math.isnan(nothing.pairwise)
    assert math.isnan(nothing.fleiss_kappa)
    assert math.isnan(nothing.krippendorff_alpha)
    assert nothing.undefined_reason == TOO_FEW_VOTES


def test_one_answer_only_leaves_agreement_beyond_chance_undefined() -> None:
    same = figures(["tt", "ttt"])

    assert same.pairwise == 1.0
    assert math.isnan(same.fleiss_kappa)
    assert math.isnan(same.krippendorff_alpha)
    assert ONE_ANSWER in same.undefined_reason


def test_one_query_has_no_interval() -> None:
    single = figures(["ttf"])

    assert single.krippendorff_alpha == pytest.approx(0.0)
    assert math.isnan(single.krippendorff_alpha_interval.low)
    assert single.undefined_reason == ONE_QUERY


def test_who_shares_one_query_with_others_has_no_interval() -> None:
    *_, one = figures(["tt", "tf", "ttt"]).annotators

    assert (one.annotator, one.votes, one.pairwise) == ("c", 1, 1.0)
    assert math.isnan(one.interval.low)


def test_an_answer_to_one_query_only_has_no_interval() -> None:
    rare, frequent = figures(["tt", "ff", "tu", "ft", "tt", "tt", "ff"]).answers[::-2]

    assert rare.answer == Answer(class_name="u")
    assert math.isnan(rare.interval.low)
    assert not math.isnan(frequent.interval.low)


def test_kappa_takes_the_most_frequent_number_of_votes() -> None:
    mixed = figures(["tt", "ff", "tf", "tff", "ttt"])
    pairs_only = figures(["tt", "ff", "tf"])

    assert mixed.queries == 5
    assert mixed.fleiss_kappa == pairs_only.fleiss_kappa
    assert mixed.krippendorff_alpha != pairs_only.krippendorff_alpha


def test_the_same_votes_have_the_same_interval() -> None:
    first, second = (agreement(simulated(50, seed=1)) for _ in range(2))

    assert first == second


def test_intervals_cover_the_true_figure_as_often_as_they_say() -> None:
    # Of two annotators who are right with 0.8 each, 0.8² + 0.2² agree; chance is one half.
    true_alpha = 2 * (0.8**2 + 0.2**2) - 1
    ends = [agreement(simulated(120, seed=n)).krippendorff_alpha_interval for n in range(150)]

    covered = np.mean([end.low <= true_alpha <= end.high for end in ends])
    assert 0.90 <= covered <= 0.99


def test_an_interval_from_groups_of_queries_is_as_wide_as_the_figure_spreads() -> None:
    queries = 3 * MOST_UNITS
    figures = [agreement(simulated(queries, seed=n)) for n in range(25)]

    spread = np.std([each.krippendorff_alpha for each in figures])
    ends = [each.krippendorff_alpha_interval for each in figures]
    width = np.mean([end.high - end.low for end in ends])
    assert width == pytest.approx(2 * 1.96 * spread, rel=0.3)


@given(votes)
def test_pairwise_agreement_is_the_share_of_equal_pairs(each: list[list[str]]) -> None:
    pairs = [a == b for answers in each for a, b in combinations(answers, 2)]

    result = figures(each)

    if pairs:
        assert result.pairwise == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(result.pairwise)


@given(votes)
def test_kappa_and_alpha_are_at_most_one_or_say_why_they_are_undefined(
    each: list[list[str]],
) -> None:
    result = figures(each)

    for figure in (result.fleiss_kappa, result.krippendorff_alpha):
        if math.isnan(figure):
            assert result.undefined_reason
        else:
            assert -1 <= figure <= 1 + 1e-12


@given(votes)
def test_an_interval_has_its_ends_in_order(each: list[list[str]]) -> None:
    result = figures(each)

    for ends in (
        result.fleiss_kappa_interval,
        result.krippendorff_alpha_interval,
        *(answer.interval for answer in result.answers),
        *(annotator.interval for annotator in result.annotators),
    ):
        assert math.isnan(ends.low) == math.isnan(ends.high)
        assert not ends.low > ends.high
