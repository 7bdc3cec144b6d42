"""The guarantees are checked by drawing the labels again and again, as they are meant."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parfocal_suggestion.errors_left import errors_left
from parfocal_suggestion.unseen import Decision, decide

Pool = tuple[NDArray[np.float64], NDArray[np.bool_]]


def pool(kind: str, *, count: int = 400) -> Pool:
    """Scores and truth of a pool: scores that are sharp, weak, worthless or misleading."""
    rng = np.random.default_rng(5)
    truth = rng.random(count) < 0.58
    signal = {"sharp": 3.0, "weak": 1.0, "worthless": 0.0, "misleading": -1.0}[kind]
    logit = signal * np.where(truth, 1, -1) + rng.normal(size=count)
    # Many candidates share a score, as those that a model cannot tell apart do.
    return np.round(1 / (1 + np.exp(-logit)), 2), truth


def wrong_shares(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], *, labels: int, error_rate: float
) -> NDArray[np.float64]:
    """Share that is wrong of those accepted and of those rejected, (draws, 2)."""
    rng = np.random.default_rng(0)
    found = np.zeros((1500, 2))
    for draw in found:
        order = rng.permutation(len(scores))
        drawn, rest = order[:labels], order[labels:]
        decisions = decide(scores[rest], scores[drawn], truth[drawn], error_rate=error_rate)
        for side, (decision, right) in enumerate(
            [(Decision.ACCEPT, True), (Decision.REJECT, False)]
        ):
            decided = truth[rest][decisions == decision]
            draw[side] = np.mean(decided != right) if len(decided) else 0
    return found


@pytest.mark.parametrize("kind", ["sharp", "weak", "worthless", "misleading"])
@pytest.mark.parametrize(("labels", "error_rate"), [(15, 0.2), (60, 0.1)])
def test_the_wrong_share_is_what_was_allowed(kind: str, labels: int, error_rate: float) -> None:
    found = wrong_shares(*pool(kind), labels=labels, error_rate=error_rate)

    noise = 3 * found.std(axis=0) / np.sqrt(len(found))
    assert np.all(found.mean(axis=0) <= error_rate + noise)


def test_sharp_scores_decide_much_and_worthless_ones_little() -> None:
    def decided(kind: str) -> float:
        scores, truth = pool(kind)
        decisions = decide(scores[80:], scores[:80], truth[:80], error_rate=0.1)
        return float(np.mean(decisions != Decision.LOOK))

    assert decided("sharp") > 0.8
    assert decided("worthless") == 0


def test_without_calibration_labels_everything_is_looked_at() -> None:
    decisions = decide(np.array([0.1, 0.9]), np.empty(0), np.empty(0, np.bool_), error_rate=0.5)

    assert decisions.tolist() == [Decision.LOOK] * 2


def test_as_many_labels_as_the_rate_needs_are_enough() -> None:
    scores = np.full(10, 0.9)

    few, enough = (
        decide(scores, np.full(n, 0.9), np.full(n, True), error_rate=0.1) for n in (8, 9)
    )

    assert set(few.tolist()) == {Decision.LOOK}
    assert set(enough.tolist()) == {Decision.ACCEPT}


def test_one_half_counts_as_true() -> None:
    decisions = decide(np.full(4, 0.5), np.full(19, 0.5), np.full(19, False), error_rate=0.2)

    assert set(decisions.tolist()) == {Decision.LOOK}


@pytest.mark.parametrize("wrong", [0, 4, 60, 200])
def test_the_interval_holds_the_errors_left_in_19_of_20_draws(wrong: int) -> None:
    rng = np.random.default_rng(wrong)
    is_wrong = np.arange(200) < wrong
    hits = 0
    for _ in range(1000):
        drawn = rng.permutation(is_wrong)[:40]
        found = errors_left(candidates=160, checked=40, wrong=int(drawn.sum()))
        hits += found.lower <= wrong - drawn.sum() <= found.upper

    assert hits >= 935


def test_the_expected_errors_are_those_of_the_draw_at_scale() -> None:
    found = errors_left(candidates=100, checked=20, wrong=3)

    assert found.expected == 15
    assert found.lower < 15 < found.upper


def test_a_pool_that_was_all_looked_at_has_no_errors_left() -> None:
    found = errors_left(candidates=0, checked=10, wrong=2)

    assert (found.expected, found.lower, found.upper) == (0, 0, 0)


def test_without_a_draw_nothing_is_known_of_the_errors() -> None:
    found = errors_left(candidates=7, checked=0, wrong=0)

    assert np.isnan(found.expected)
    assert (found.lower, found.upper) == (0, 7)
    assert "random share" in found.reason
