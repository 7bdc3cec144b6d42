from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer, TaskKind
from parfocal_labels.consensus import (
    Ballot,
    Consensus,
    ConsensusRule,
    TieRule,
    consensus,
    needs_content,
)
from parfocal_labels.records import Rules

FIRST, MAJORITY = ConsensusRule.FIRST_VOTE, ConsensusRule.MAJORITY
N_OF_M, DAWID_SKENE = ConsensusRule.N_OF_M, ConsensusRule.DAWID_SKENE
A, B, C = (Answer(class_name=name) for name in "abc")

answers = st.lists(st.sampled_from([TRUE, FALSE, UNSURE]), min_size=1, max_size=9)
tie_rules = st.sampled_from(TieRule)


def rules(
    rule: ConsensusRule, votes: int, *, agree: int = 0, tie: TieRule = TieRule.UNSURE
) -> Rules:
    return Rules(
        TaskKind.VERIFY,
        votes_needed=votes,
        consensus_rule=rule,
        votes_to_agree=agree,
        tie_rule=tie,
    )


def ballots(*votes: Answer) -> list[Ballot]:
    return [Ballot(f"annotator-{number}", vote) for number, vote in enumerate(votes)]


def majority(*votes: Answer, tie: TieRule = TieRule.UNSURE) -> Consensus:
    return consensus(ballots(*votes), rules(MAJORITY, len(votes), tie=tie))


def of_m(*votes: Answer, agree: int, m: int, tie: TieRule = TieRule.UNSURE) -> Consensus:
    return consensus(ballots(*votes), rules(N_OF_M, m, agree=agree, tie=tie))


@pytest.mark.parametrize("rule", [FIRST, MAJORITY, DAWID_SKENE])
def test_nothing_is_decided_before_all_votes_are_in(rule: ConsensusRule) -> None:
    result = consensus(ballots(TRUE, TRUE), rules(rule, 3))

    assert result == Consensus(decided=False, answer=None, votes=2, agreeing=0)


def test_the_first_vote_decides_whatever_comes_after() -> None:
    result = consensus(ballots(FALSE, TRUE, TRUE), rules(FIRST, 3))

    assert result == Consensus(decided=True, answer=FALSE, votes=3, agreeing=1)


def test_two_of_three_are_the_majority() -> None:
    assert majority(TRUE, FALSE, TRUE) == Consensus(True, TRUE, votes=3, agreeing=2)


def test_most_votes_win_without_being_more_than_half() -> None:
    assert majority(A, B, C, B, UNSURE) == Consensus(True, B, votes=5, agreeing=2)


def test_a_tie_of_the_leading_answers_is_unsure() -> None:
    assert majority(TRUE, FALSE) == Consensus(True, UNSURE, votes=2, agreeing=1)
    assert majority(A, B, C, A, B) == Consensus(True, UNSURE, votes=5, agreeing=2)


def test_the_earliest_of_the_leading_answers_can_decide_a_tie() -> None:
    result = majority(C, B, A, A, B, tie=TieRule.EARLIEST)

    assert result == Consensus(True, B, votes=5, agreeing=2)


def test_a_tie_can_be_a_curators_to_decide() -> None:
    result = majority(TRUE, FALSE, tie=TieRule.ADJUDICATE)

    assert result == Consensus(False, None, votes=2, agreeing=1, disputed=True)


def test_unsure_counts_as_an_answer() -> None:
    assert majority(UNSURE, TRUE, UNSURE).answer == UNSURE


def test_n_equal_votes_decide_before_all_m_are_in() -> None:
    result = of_m(TRUE, FALSE, TRUE, agree=2, m=5)

    assert result == Consensus(True, TRUE, votes=3, agreeing=2)


def test_the_first_answer_with_n_votes_decides_whatever_comes_after() -> None:
    result = of_m(A, B, A, B, B, agree=2, m=5)

    assert result == Consensus(True, A, votes=5, agreeing=2)


def test_fewer_than_m_votes_without_n_equal_ones_decide_nothing() -> None:
    assert of_m(A, B, agree=2, m=3) == Consensus(False, None, votes=2, agreeing=0)


@pytest.mark.parametrize(
    ("tie", "wanted"),
    [
        (TieRule.UNSURE, Consensus(True, UNSURE, votes=4, agreeing=2)),
        (TieRule.EARLIEST, Consensus(True, B, votes=4, agreeing=2)),
        (TieRule.ADJUDICATE, Consensus(False, None, votes=4, agreeing=2, disputed=True)),
    ],
)
def test_m_votes_without_n_equal_ones_are_a_tie(tie: TieRule, wanted: Consensus) -> None:
    assert of_m(A, B, B, C, agree=3, m=4, tie=tie) == wanted


@pytest.mark.parametrize("votes", [(), (TRUE,), (TRUE, TRUE), (TRUE, FALSE), (TRUE, TRUE, TRUE)])
@pytest.mark.parametrize("rule", ConsensusRule)
def test_a_curator_overrides_all_votes(rule: ConsensusRule, votes: Sequence[Answer]) -> None:
    agree = 2 if rule is N_OF_M else 0

    result = consensus(ballots(*votes), rules(rule, 3, agree=agree), adjudication=FALSE)

    assert result == Consensus(
        True, FALSE, votes=len(votes), agreeing=votes.count(FALSE), adjudicated=True
    )


def test_a_rule_by_votes_knows_no_probability() -> None:
    assert math.isnan(majority(TRUE, TRUE, FALSE).probability)


@given(answers)
def test_a_majority_does_not_depend_on_the_order_of_votes(votes: list[Answer]) -> None:
    assert majority(*votes) == majority(*reversed(votes))


@given(answers)
def test_a_majority_is_never_outvoted(votes: list[Answer]) -> None:
    result = majority(*votes)

    counts = Counter(votes)
    assert result.agreeing == max(counts.values())
    assert result.answer == UNSURE or counts[result.answer or UNSURE] == result.agreeing


@given(answers, st.sampled_from(ConsensusRule), tie_rules, st.integers(1, 5), st.integers(1, 5))
def test_the_number_of_votes_tells_the_state_unless_content_is_needed(
    votes: list[Answer], rule: ConsensusRule, tie: TieRule, needed: int, agree: int
) -> None:
    assume((rule, tie) != (DAWID_SKENE, TieRule.ADJUDICATE))
    each = rules(rule, needed, agree=min(agree, needed) if rule is N_OF_M else 0, tie=tie)

    result = consensus(ballots(*votes), each)

    if not needs_content(each):
        assert result.decided == (len(votes) >= needed)
        assert not result.disputed


@given(answers, tie_rules, st.integers(1, 9), st.integers(1, 9))
def test_a_further_vote_never_undoes_n_of_m(
    votes: list[Answer], tie: TieRule, needed: int, agree: int
) -> None:
    each = rules(N_OF_M, needed, agree=min(agree, needed), tie=tie)

    states = [consensus(ballots(*votes[:count]), each) for count in range(1, len(votes) + 1)]

    agreed = [state.answer for state in states if state.agreeing >= each.votes_to_agree]
    assert len(set(agreed)) <= 1
