"""ACFT against the published table, the printed formulas and the rules at the edges."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.strategies.acft import (
    Acft,
    Mode,
    acft_parts,
    randomised,
    sampling_probabilities,
)

EPSILON = 2.0**-52

PATTERNS = {
    "A": [0.4] * 3 + [0.5] * 6 + [0.6] * 2,
    "B": [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.6, 0.7, 0.8, 1, 1],
    "C": [0, 0, 0, 0.1, 0.1, 0.9, 0.9, 1, 1, 1, 1],
    "D": [1.0] * 7 + [0.9] * 4,
    "E": [0.0] * 7 + [0.1] * 4,
    "F": [0, 0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.9, 1],
    "G": [0, 0.1, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9, 0.9, 1, 1],
}
# Entropy and diversity of all views, then of the surest quarter: table 1 of the paper.
TABLE_1 = {
    "A": (7.52, 4.38, 2.02, 0.00),
    "B": (4.57, 1237.21, 0.83, 20.79),
    "C": (1.30, 2816.66, 0.00, 0.00),
    "D": (1.30, 189.54, 0.00, 0.00),
    "E": (1.30, 189.54, 0.00, 0.00),
    "F": (3.24, 1076.87, 0.33, 13.54),
    "G": (3.24, 1076.87, 0.33, 13.54),
}


def two_classes(chances: list[float]) -> np.ndarray:
    """Views (1, m, 2) with the chances of True."""
    true = np.array(chances)
    return np.stack([1 - true, true], axis=1)[None].astype(np.float32)


def parts(views: np.ndarray, share: float, mode: Mode = "code") -> tuple[float, float]:
    entropy, diversity = acft_parts(views, patch_share=share, mode=mode, epsilon=EPSILON)
    return float(entropy[0]), float(diversity[0])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_entry_of_the_published_table_comes_out(pattern: str) -> None:
    views = two_classes(PATTERNS[pattern])

    numbers = (*parts(views, 1), *parts(views, 0.25))

    assert [f"{number:.2f}" for number in numbers] == [f"{n:.2f}" for n in TABLE_1[pattern]]


def test_several_classes_come_out() -> None:
    views = np.array([[[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]]])

    numbers = (*parts(views, 1), *parts(views, 0.5))

    assert [f"{number:.6f}" for number in numbers] == [
        "3.368449", "11.507881", "1.668685", "0.860077",
    ]  # fmt: skip


def test_probabilities_of_the_draw_come_out() -> None:
    chances = sampling_probabilities(np.array([5.0, 4, 3, 2, 1]))

    assert chances.tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1, 0])


@pytest.mark.parametrize("mode", ["paper", "code", "normalised"])
def test_the_sums_are_those_of_the_formulas(mode: Mode) -> None:
    views = np.random.default_rng(0).dirichlet([1, 1, 1], size=(1, 6)).astype(np.float32)
    p = views[0].astype(np.float64)

    entropy, diversity = parts(views, 1, mode)

    pairs = [
        (p[j, k] - p[m, k]) * np.log((p[j, k] + EPSILON) / (p[m, k] + EPSILON))
        for j, m, k in product(range(6), range(6), range(3))
        if mode != "paper" or m >= j
    ]
    assert entropy == pytest.approx(-np.sum(p * np.log(p)) / (1 if mode == "code" else 6))
    assert diversity == pytest.approx(np.sum(pairs) / (30 if mode == "normalised" else 1))


@pytest.mark.parametrize(("patches", "kept"), [(1, 1), (2, 1), (4, 1), (6, 2), (10, 3), (24, 6)])
def test_a_quarter_is_rounded_half_up_and_never_nothing(patches: int, kept: int) -> None:
    half = np.full((1, patches, 2), 0.5, np.float32)

    entropy, _ = parts(half, 0.25)

    assert entropy == pytest.approx(kept * np.log(2))


def test_the_first_of_two_dominant_classes_is_kept() -> None:
    views = two_classes([0.1, 0.2, 0.8, 0.9])

    entropy, _ = parts(views, 0.25)

    # As the released code does: at a mean of exactly one half, the smallest chance of True.
    assert entropy == pytest.approx(parts(two_classes([0.1]), 1)[0], rel=1e-6)


def test_sure_views_have_no_negative_entropy() -> None:
    entropy, diversity = parts(two_classes([1, 1, 0]), 1)

    assert entropy == 0
    assert diversity == pytest.approx(2 * 144.1746, rel=1e-5)


def pool_with(scores: list[float]) -> Pool:
    """Candidates of one view each, less sure the higher their score (0 to 0.5)."""
    return Pool.of(range(len(scores)), predictions=[[[1 - score, score]] for score in scores])


def test_the_best_are_taken_without_extension() -> None:
    pool = pool_with([0.1, 0.5, 0.2, 0.4, 0.3])

    selection = Acft(extension=1).select(pool, 3, seed=0)

    assert selection.candidates.tolist() == [1, 3, 4]
    assert selection.scores[0] == pytest.approx(np.log(2))
    assert selection.parts["entropy"].tolist() == selection.scores.tolist()


def test_a_pool_no_larger_than_the_budget_is_taken_whole_best_first() -> None:
    selection = Acft().select(pool_with([0.1, 0.5, 0.2]), 3, seed=0)

    assert selection.candidates.tolist() == [1, 2, 0]


def test_the_draw_goes_by_the_probabilities_and_never_takes_the_last() -> None:
    scores = np.array([1.0, 2, 3, 4, 5])

    first = np.zeros(5)
    for seed in range(4000):
        first[randomised(scores, 1, extension=5, seed=seed)] += 1

    assert first[0] == 0
    np.testing.assert_allclose(first / 4000, [0, 0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_only_the_extended_best_are_drawn_from() -> None:
    scores = np.arange(100.0)

    drawn = {
        int(row) for seed in range(200) for row in randomised(scores, 2, extension=5, seed=seed)
    }

    assert drawn == set(range(91, 100))


def test_equal_scores_are_drawn_uniformly() -> None:
    counts = np.zeros(4)
    for seed in range(2000):
        counts[randomised(np.ones(4), 1, extension=5, seed=seed)] += 1

    # 500 expected, binomial sd 19.4.
    assert np.all(np.abs(counts - 500) < 90)


def test_too_few_with_a_chance_are_all_taken_and_the_rest_is_drawn_uniformly() -> None:
    scores = np.array([7.0, 1, 1, 1, 1, 1])

    others = np.zeros(6)
    for seed in range(1000):
        drawn = randomised(scores, 2, extension=3, seed=seed)
        assert drawn[0] == 0
        others[drawn[1]] += 1

    # 200 expected, binomial sd 12.7.
    assert np.all(np.abs(others[1:] - 200) < 60)


def test_ranks_and_standard_scores_make_entropy_and_diversity_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    pool = Pool.of(range(200), predictions=rng.dirichlet([0.3, 0.3], size=(200, 8)))

    def top(**changes: object) -> set[int]:
        strategy = Acft(extension=1, patch_share=1, **changes)  # type: ignore[arg-type]
        return set(strategy.select(pool, 40, seed=0).candidates.tolist())

    diverse = top(entropy_weight=0, diversity_weight=1)
    assert top(diversity_weight=1) == diverse
    assert top(diversity_weight=1, scaling="rank") != diverse
    assert top(diversity_weight=1, scaling="z_score") != diverse


@pytest.mark.parametrize(
    "strategy",
    [
        Acft(entropy_weight=0),
        Acft(entropy_weight=-1, diversity_weight=1),
        Acft(patch_share=1.5),
        Acft(extension=0),
    ],
)
def test_parameters_out_of_range_are_refused(strategy: Acft) -> None:
    with pytest.raises(InvalidInput):
        strategy.select(pool_with([0.1, 0.2]), 1, seed=0)


def test_predictions_are_needed() -> None:
    with pytest.raises(InvalidInput) as caught:
        Acft().select(Pool.of(range(3), probabilities=[0.5] * 3), 1, seed=0)

    assert caught.value.metadata["field"] == "predictions"
