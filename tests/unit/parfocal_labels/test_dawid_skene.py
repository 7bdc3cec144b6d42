from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parfocal_labels.answers import FALSE, TRUE, Answer
from parfocal_labels.ballots import BallotTable
from parfocal_labels.dawid_skene import fit, identifiable

# Dawid and Skene 1979, table 1: the fitness for anaesthesia of 45 patients, in classes 1 to 4,
# as observer 1 judged it three times and observers 2 to 5 once.
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223
4444444 2223343 1111111 2223212 1211111 1112111 1111111 1111111 2222221 2221322
2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111
1111111 1212111 2322222 1211111 2222222
"""
OBSERVERS = "1112345"


def anaesthesia() -> BallotTable:
    return BallotTable.of(
        (patient, observer, Answer(class_name=answer))
        for patient, answers in enumerate(PATIENTS.split())
        for observer, answer in zip(OBSERVERS, answers, strict=True)
    )


def simulated(
    confusions: NDArray[np.float64], *, queries: int, seed: int = 0
) -> tuple[BallotTable, NDArray[np.int64]]:
    """Return votes of annotators with these confusions, (annotators, right, given), and truth."""
    random = np.random.default_rng(seed)
    annotators, answers, _ = confusions.shape
    truth = random.integers(answers, size=queries)
    draws = random.random((queries, annotators))
    given = (draws[..., None] > confusions.cumsum(axis=-1)[:, truth].swapaxes(0, 1)).sum(axis=-1)
    votes = BallotTable.of(
        (query, f"annotator-{annotator}", Answer(class_name=str(given[query, annotator])))
        for query in range(queries)
        for annotator in range(annotators)
    )
    return votes, truth


def confusion(*accuracies: float) -> NDArray[np.float64]:
    """Return tables of two answers for annotators who are right so often."""
    return np.array([[[a, 1 - a], [1 - a, a]] for a in accuracies])


def test_the_example_of_the_paper() -> None:
    model = fit(anaesthesia(), smoothing=1e-9)

    first = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert model.converged
    np.testing.assert_allclose(model.prevalence, [0.40, 0.42, 0.11, 0.07], atol=0.005)
    np.testing.assert_allclose(model.confusion[0], first, atol=0.005)


def test_recovers_the_confusion_of_annotators() -> None:
    tables = np.array(
        [
            [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]],
            [[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]],
            [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]],
            [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
            [[0.95, 0.0, 0.05], [0.0, 1.0, 0.0], [0.05, 0.05, 0.9]],
        ]
    )
    votes, _ = simulated(tables, queries=20_000)

    model = fit(votes)

    np.testing.assert_allclose(model.confusion, tables, atol=0.02)
    np.testing.assert_allclose(model.prevalence, 1 / 3, atol=0.02)


def test_does_better_than_the_majority_where_most_annotators_guess() -> None:
    votes, truth = simulated(confusion(0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5), queries=2000)
    counts = np.bincount(votes.queries, weights=votes.answers, minlength=2000)
    majority = np.mean((counts > 3.5) == truth)

    modelled = np.mean(fit(votes).posterior.argmax(axis=1) == truth)

    assert majority < 0.88
    assert modelled > 0.96


def test_turns_round_the_answers_of_one_who_mixes_up_the_buttons() -> None:
    votes, truth = simulated(confusion(0.9, 0.9, 0.85, 0.1), queries=2000)

    model = fit(votes)

    assert model.confusion[3, 0, 0] == pytest.approx(0.1, abs=0.05)
    assert np.mean(model.posterior.argmax(axis=1) == truth) > 0.95


def test_probabilities_mean_what_they_say() -> None:
    votes, truth = simulated(confusion(0.8, 0.75, 0.7), queries=50_000)
    posterior = fit(votes).posterior

    sure = posterior.max(axis=1)
    right = posterior.argmax(axis=1) == truth
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        within = (sure >= low) & (sure < low + 0.1)
        if within.sum() > 500:
            assert right[within].mean() == pytest.approx(sure[within].mean(), abs=0.03)


def test_the_same_votes_in_another_order_give_the_same_probabilities() -> None:
    votes = [
        (query, name, answer)
        for query in range(6)
        for name, answer in zip("abc", (TRUE, FALSE, TRUE if query % 2 else FALSE), strict=True)
    ]

    first, second = fit(BallotTable.of(votes)), fit(BallotTable.of(reversed(votes)))

    np.testing.assert_allclose(first.posterior, second.posterior)


def test_many_votes_do_not_vanish_into_zero() -> None:
    votes = [(0, f"a{n}", TRUE) for n in range(5000)] + [(1, f"a{n}", FALSE) for n in range(5000)]

    posterior = fit(BallotTable.of(votes)).posterior

    np.testing.assert_allclose(posterior, [[0, 1], [1, 0]], atol=1e-12)


def test_one_annotator_alone_tells_nothing_of_their_reliability() -> None:
    votes = BallotTable.of([(0, "a", TRUE), (1, "a", FALSE)])

    assert len(identifiable(votes).query_ids) == 0


def test_one_answer_alone_tells_nothing_of_reliability() -> None:
    votes = BallotTable.of([(0, "a", TRUE), (0, "b", TRUE)])

    assert len(identifiable(votes).query_ids) == 0


def test_who_shares_no_query_with_anybody_is_left_out() -> None:
    votes = BallotTable.of(
        [(0, "a", TRUE), (0, "b", FALSE), (1, "a", TRUE), (2, "loner", TRUE), (3, "loner", FALSE)]
    )

    assert identifiable(votes).query_ids.tolist() == [0, 1]
    assert identifiable(votes).names == ("a", "b")


def test_no_votes_are_no_votes() -> None:
    assert len(identifiable(BallotTable.of([])).query_ids) == 0
