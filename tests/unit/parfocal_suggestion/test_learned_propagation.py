from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parfocal_suggestion.held_out import folds_of, held_out
from parfocal_suggestion.knowledge import Knowledge, knowledge, reduced
from parfocal_suggestion.learned import choose_strengths, learn
from parfocal_suggestion.learned_propagation import (
    Labels,
    by_learned_model,
    calibration_share,
    pool_errors,
    unseen_decisions,
)
from parfocal_suggestion.propagation import Decided, Default, Propagated, Trust
from parfocal_suggestion.unseen import Decision

COUNT = 300


def table(rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    return {
        "area": rng.integers(20, 500, COUNT),
        "mean_probability": rng.random(COUNT, np.float32),
        "max_probability": rng.random(COUNT, np.float32),
    }


def telling(rng: np.random.Generator, truth: NDArray[np.bool_]) -> NDArray[np.float32]:
    """An embedding in which the truth can be seen."""
    side = np.where(truth, 1.5, -1.5)[:, None] * [1, 0, 0, 0]
    return (side + rng.normal(size=(COUNT, 4))).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def labels(
    rng: np.random.Generator, truth: NDArray[np.bool_], count: int, *, drawn: bool = True
) -> Labels:
    rows = np.sort(rng.permutation(COUNT)[:count])
    return Labels(rows, truth[rows], np.full(count, drawn))


def propagated(known: Knowledge, given: Labels, *, error_rate: float = 0.0) -> Propagated:
    return by_learned_model(known, given, error_rate=error_rate, seed=1, default=Default.TRUE)


def trust(found: Propagated) -> Trust:
    assert found.trust is not None
    return found.trust


def test_an_embedding_that_tells_is_used(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    columns = table(rng)
    given = labels(rng, truth, 60)

    with_it = propagated(knowledge(columns, {"mask": telling(rng, truth)}), given)
    without = propagated(knowledge(columns, {}), given)

    assert np.mean(with_it.verdicts == truth) > 0.85 > np.mean(without.verdicts == truth)
    assert trust(with_it).strengths["embedding:mask"] >= 1
    assert set(with_it.decided_by.tolist()) == {Decided.MODEL}


def test_noise_is_not_believed(rng: np.random.Generator) -> None:
    columns = table(rng)
    truth = columns["mean_probability"].astype(float) > 0.5
    noise = rng.normal(size=(COUNT, 12)).astype(np.float32)
    given = labels(rng, truth, 40)

    with_noise = propagated(knowledge(columns, {"image": noise}), given)
    without = propagated(knowledge(columns, {}), given)

    assert trust(with_noise).strengths["embedding:image"] < 1
    right = [np.mean(found.verdicts == truth) for found in (with_noise, without)]
    assert right[0] >= right[1] - 0.02


def test_a_group_shares_its_labels(rng: np.random.Generator) -> None:
    groups = np.arange(COUNT) // 10
    truth = rng.random(30)[groups] < 0.5
    known = knowledge(table(rng), {}, groups)
    given = labels(rng, truth, 90)

    found = propagated(known, given)

    assert np.mean(found.verdicts == truth) > 0.9
    assert trust(found).strengths["groups"] >= 1
    # A group that was held out has nothing to go by.
    assert trust(found).reliability.accuracy < 0.7


def test_probabilities_of_held_out_labels_are_close_to_their_shares(
    rng: np.random.Generator,
) -> None:
    columns = table(rng)
    chance = 1 / (1 + np.exp(-6 * (columns["mean_probability"].astype(float) - 0.5)))
    truth = rng.random(COUNT) < chance

    told = trust(propagated(knowledge(columns, {}), labels(rng, truth, 200))).reliability

    assert told.labels == 200
    assert told.auc > 0.75
    assert told.calibration_error < 0.12


def test_groups_are_never_divided(rng: np.random.Generator) -> None:
    groups = rng.integers(0, 12, 100)

    folds = folds_of(groups, 5, seed=0)

    assert all(len(set(folds[groups == group])) == 1 for group in range(12))
    assert np.ptp(np.bincount(folds)) <= 12
    assert np.array_equal(folds, folds_of(groups, 5, seed=0))


def test_labels_of_one_group_cannot_be_held_out(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    known = knowledge(table(rng), {}, np.zeros(COUNT, np.int64))

    told = trust(propagated(known, labels(rng, truth, 20))).reliability

    assert np.isnan(told.brier)
    assert told.undefined["brier"] == "no label was held out"


def test_a_negative_fold_is_always_fitted(rng: np.random.Generator) -> None:
    known = knowledge(table(rng), {})
    verdicts = rng.random(20) < 0.5

    found = held_out(known, np.arange(20), verdicts, np.repeat([-1, 0], 10))

    assert np.isnan(found[:10]).all()
    assert np.isfinite(found[10:]).all()


def test_the_order_of_labels_is_that_of_rows_and_the_answer_repeats(
    rng: np.random.Generator,
) -> None:
    truth = rng.random(COUNT) < 0.5
    known = knowledge(table(rng), {"mask": telling(rng, truth)})
    given = labels(rng, truth, 40)

    one, other = (propagated(known, given, error_rate=0.2) for _ in range(2))

    assert one.probabilities.tobytes() == other.probabilities.tobytes()
    assert one.decisions is not None
    assert other.decisions is not None
    assert np.array_equal(one.decisions, other.decisions)


def test_decisions_calibrate_on_the_random_share_only(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    rows = np.arange(100)
    given = Labels(rows, truth[rows], rows >= 70)

    calibrates = calibration_share(given, seed=4)

    assert calibrates.tolist() == [False] * 70 + [True] * 30


def test_at_most_half_of_the_labels_calibrate(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5

    calibrates = calibration_share(labels(rng, truth, 41), seed=4)

    assert calibrates.sum() == 21


def test_accepted_and_rejected_are_wrong_as_seldom_as_asked(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    known = knowledge(table(rng), {"mask": telling(rng, truth)}, np.arange(COUNT) // 3)
    wrong, decided = [], []
    for seed in range(30):
        given = labels(rng, truth, 80)
        decisions = unseen_decisions(known, given, 0.2, seed=seed)
        unseen = np.setdiff1d(np.arange(COUNT), given.rows)
        for decision, right in ((Decision.ACCEPT, True), (Decision.REJECT, False)):
            taken = truth[unseen][decisions[unseen] == decision]
            decided.append(len(taken))
            wrong.append(np.mean(taken != right) if len(taken) else 0.0)

    assert np.mean(wrong) <= 0.2 + 3 * np.std(wrong) / np.sqrt(len(wrong))
    assert np.mean(decided) > 50


def test_labelled_candidates_are_decided_by_their_label(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    given = labels(rng, truth, 20)

    decisions = propagated(knowledge(table(rng), {}), given, error_rate=0.1).decisions

    assert decisions is not None
    expected = np.where(given.verdicts, Decision.ACCEPT, Decision.REJECT)
    assert np.array_equal(decisions[given.rows], expected)


def test_the_interval_of_the_errors_left_holds_them(rng: np.random.Generator) -> None:
    truth = rng.random(COUNT) < 0.5
    known = knowledge(table(rng), {"mask": telling(rng, truth)})
    hits = []
    for seed in range(15):
        given = labels(rng, truth, 50)
        left = pool_errors(known, given, seed=seed)
        chance = learn(known, given.rows, given.verdicts).probabilities(np.arange(COUNT))
        unseen = np.setdiff1d(np.arange(COUNT), given.rows)
        wrong = int(np.sum((chance[unseen] >= 0.5) != truth[unseen]))
        hits.append(left.lower <= wrong <= left.upper)
        assert left.candidates == len(unseen)

    # 19 of 20 are meant; fewer than 11 of 15 come once in two thousand times.
    assert sum(hits) >= 11


def test_without_a_random_share_nothing_is_decided_and_it_says_so(
    rng: np.random.Generator,
) -> None:
    truth = rng.random(COUNT) < 0.5
    given = labels(rng, truth, 20, drawn=False)

    found = propagated(knowledge(table(rng), {}), given, error_rate=0.1)

    unseen = np.setdiff1d(np.arange(COUNT), given.rows)
    assert found.decisions is not None
    assert set(found.decisions[unseen].tolist()) == {Decision.LOOK}
    assert np.isnan(trust(found).errors_left.expected)
    assert "random share" in found.notes[0]


def test_labels_of_one_class_still_leave_doubt(rng: np.random.Generator) -> None:
    found = propagated(
        knowledge(table(rng), {}), Labels(np.arange(5), np.full(5, True), np.full(5, True))
    )

    assert found.verdicts.all()
    assert found.probabilities.max() < 0.99


def test_without_labels_the_default_is_kept(rng: np.random.Generator) -> None:
    none = Labels(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_))

    found = propagated(knowledge(table(rng), {}), none, error_rate=0.1)

    assert found.verdicts.all()
    assert found.decisions is not None
    assert set(found.decisions.tolist()) == {Decision.LOOK}
    assert "no labels" in found.notes[0]


def test_more_labels_than_can_be_fitted_are_thinned(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parfocal_suggestion.learned.MOST_FITTED", 30)
    truth = rng.random(COUNT) < 0.5

    model = learn(knowledge(table(rng), {}), np.arange(COUNT), truth)

    assert len(model.rows) == 30
    assert (model.rows[0], model.rows[-1]) == (0, COUNT - 1)


def test_strengths_without_labels_to_speak_of_are_those_expected(
    rng: np.random.Generator,
) -> None:
    known = knowledge(table(rng), {"mask": telling(rng, np.full(COUNT, True))})

    found = choose_strengths(known, np.array([3]), np.array([True]))

    assert found == {"geometry": 0.3, "embedding:mask": 0.3}


def test_an_embedding_is_reduced_to_its_widest_directions(rng: np.random.Generator) -> None:
    wide = rng.normal(size=(COUNT, 20)) * np.r_[np.full(2, 10), np.full(18, 0.01)]

    kept = reduced(wide.astype(np.float32))

    assert kept.shape == (COUNT, 16)
    assert np.allclose(kept.var(axis=0)[:2].sum(), wide.var(axis=0)[:2].sum(), rtol=1e-4)
    assert reduced(wide[:, :1].astype(np.float32)).shape == (COUNT, 1)
