from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import Consensus, ConsensusRule, consensus

FIRST, MAJORITY = ConsensusRule.FIRST_VOTE, ConsensusRule.MAJORITY
A, B, C = (Answer(class_name=name) for name in "abc")

answers = st.lists(st.sampled_from([TRUE, FALSE, UNSURE]), min_size=1, max_size=9)


def majority(*votes: Answer) -> Consensus:
    return consensus(votes, rule=MAJORITY, votes_needed=len(votes))


def test_nothing_is_decided_before_all_votes_are_in() -> None:
    for rule in ConsensusRule:
        result = consensus([TRUE, TRUE], rule=rule, votes_needed=3)
        assert result == Consensus(decided=False, answer=None, votes=2, agreeing=0)


def test_the_first_vote_decides_whatever_comes_after() -> None:
    result = consensus([FALSE, TRUE, TRUE], rule=FIRST, votes_needed=3)

    assert result == Consensus(decided=True, answer=FALSE, votes=3, agreeing=1)


def test_two_of_three_are_the_majority() -> None:
    assert majority(TRUE, FALSE, TRUE) == Consensus(True, TRUE, votes=3, agreeing=2)


def test_most_votes_win_without_being_more_than_half() -> None:
    assert majority(A, B, C, B, UNSURE) == Consensus(True, B, votes=5, agreeing=2)


def test_a_tie_of_the_leading_answers_is_unsure() -> None:
    assert majority(TRUE, FALSE) == Consensus(True, UNSURE, votes=2, agreeing=1)
    assert majority(A, B, C, A, B) == Consensus(True, UNSURE, votes=5, agreeing=2)


def test_unsure_counts_as_an_answer() -> None:
    assert majority(UNSURE, TRUE, UNSURE).answer == UNSURE


@given(answers)
def test_a_majority_does_not_depend_on_the_order_of_votes(votes: list[Answer]) -> None:
    assert majority(*votes) == majority(*reversed(votes))


@given(answers)
def test_a_majority_is_never_outvoted(votes: list[Answer]) -> None:
    result = majority(*votes)

    counts = Counter(votes)
    assert result.agreeing == max(counts.values())
    assert result.answer == UNSURE or counts[result.answer or UNSURE] == result.agreeing
