"""What is particular to a strategy; what all share is in test_every_strategy."""

from __future__ import annotations

import numpy as np
import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.fusion import fuse
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.strategies import STRATEGIES, strategy_of
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.late_fusion import LateFusion
from parfocal_suggestion.strategies.random_draw import RandomDraw
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.uncertainty import entropy


def clumps(per_clump: int) -> Pool:
    """Two kinds of mask times two kinds of image, each candidate slightly off."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(4), per_clump)
    jitter = rng.normal(scale=0.01, size=(2, 4 * per_clump, 1)).astype(np.float32)
    return Pool.of(
        np.arange(4 * per_clump),
        streams={
            "mask": (kind // 2)[:, None] + jitter[0],
            "image": (kind % 2)[:, None] + jitter[1],
        },
    )


def test_two_stream_finds_the_cells_and_asks_each_as_often() -> None:
    pool = clumps(10)

    selection = TwoStream(first_clusters=2, second_clusters=2, queries_per_cell=3).select(
        pool, 12, seed=0
    )

    chosen = selection.cells[selection.candidates]
    assert selection.cells.tolist() == np.repeat(np.arange(4), 10).tolist()
    assert selection.clusters.tolist() == np.repeat(np.arange(2), 20).tolist()
    assert chosen.tolist() == np.repeat(np.arange(4), 3).tolist()
    assert selection.scores.tolist() == pytest.approx([10 / 3] * 12)


def test_picks_go_by_cell_and_then_by_distance_to_its_centre() -> None:
    selection = TwoStream(first_clusters=2, second_clusters=2).select(clumps(10), 12, seed=0)

    rows = selection.candidates
    places = list(zip(selection.cells[rows], selection.distances[rows], strict=True))
    assert places == sorted(places)


def test_labelled_candidates_belong_to_a_cell_too() -> None:
    pool = clumps(10)
    labelled = Pool.of(
        pool.candidates, streams=dict(pool.streams), labelled=[0, 39], verdicts=[True, False]
    )

    selection = TwoStream(first_clusters=2, second_clusters=2).select(labelled, 12, seed=0)

    assert selection.cells.tolist() == np.repeat(np.arange(4), 10).tolist()


def test_two_stream_needs_two_streams() -> None:
    with pytest.raises(InvalidInput, match="two different streams"):
        TwoStream(first_stream="image").select(clumps(3), 2, seed=0)


def test_late_fusion_finds_the_cells_at_any_scale() -> None:
    pool = clumps(10)
    large = {"mask": pool.streams["mask"] * np.float32(1000), "image": pool.streams["image"]}
    scaled = Pool.of(pool.candidates, streams=large)

    selection = LateFusion(cells=4).select(scaled, 8, seed=0)
    raw = LateFusion(cells=2, raw_scale=True).select(scaled, 8, seed=0)

    assert selection.cells.tolist() == np.repeat(np.arange(4), 10).tolist()
    assert raw.cells.tolist() == np.repeat(np.arange(2), 20).tolist()


def test_fused_streams_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(2, 50, 9)).astype(np.float32)

    fused = fuse(wide * np.float32(40), narrow[:, :2], raw=False)

    assert fused[:, :9].var(axis=0).sum() == pytest.approx(1, rel=1e-5)
    assert fused[:, 9:].var(axis=0).sum() == pytest.approx(1, rel=1e-5)
    assert fused.dtype == np.float32


def test_core_set_starts_from_the_middle_where_nothing_is_labelled() -> None:
    pool = Pool.of(range(5), streams={"a": np.array([[0], [1], [2], [3], [9]], np.float32)})

    selection = CoreSet().select(pool, 3, seed=0)

    assert selection.candidates.tolist() == [3, 4, 0]
    assert np.isnan(selection.scores[0])
    assert selection.scores[1:].tolist() == [6, 3]


def test_core_set_starts_from_the_labelled() -> None:
    points = np.array([[0], [1], [2], [3], [9]], np.float32)
    pool = Pool.of(range(5), streams={"a": points}, labelled=[4], verdicts=[True])

    assert CoreSet().select(pool, 2, seed=0).candidates.tolist() == [0, 3]


def test_entropy_is_greatest_at_one_half() -> None:
    pool = Pool.of(range(5), probabilities=[0, 0.45, 0.5, 1, 0.7])

    selection = Entropy().select(pool, 3, seed=0)

    assert selection.candidates.tolist() == [2, 1, 4]
    assert selection.scores[0] == pytest.approx(np.log(2))


def test_entropy_of_certain_classes_is_zero_and_of_many_adds_up() -> None:
    values = entropy(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], np.float32))

    assert values.tolist() == pytest.approx([0, np.log(3)])


def test_equal_entropy_goes_by_id() -> None:
    pool = Pool.of([4, 2, 9], probabilities=[0.3, 0.3, 0.7])

    assert Entropy().select(pool, 2, seed=0).candidates.tolist() == [2, 4]


def test_entropy_needs_probabilities() -> None:
    with pytest.raises(InvalidInput) as caught:
        Entropy().select(Pool.of(range(3)), 1, seed=0)

    assert caught.value.metadata["field"] == "probabilities"


def test_a_larger_draw_begins_with_the_smaller() -> None:
    pool = Pool.of(range(100))

    small, large = (RandomDraw().select(pool, n, seed=4).candidates for n in (10, 40))

    assert large[:10].tolist() == small.tolist()


def test_every_candidate_is_drawn_as_often() -> None:
    pool = Pool.of(range(20))

    counts = np.zeros(20)
    for seed in range(2000):
        counts[RandomDraw().select(pool, 5, seed=seed).candidates] += 1

    # 500 expected, binomial sd 19.4.
    assert np.all(np.abs(counts - 500) < 90)


def test_other_seeds_draw_otherwise() -> None:
    pool = Pool.of(range(50))

    assert (
        RandomDraw().select(pool, 9, seed=1).candidates.tolist()
        != RandomDraw().select(pool, 9, seed=2).candidates.tolist()
    )


def test_the_draw_is_the_same_in_every_release() -> None:
    drawn = RandomDraw().select(Pool.of(range(1000)), 5, seed=2024).candidates

    assert drawn.tolist() == DRAWN_BY_THE_FIRST_RELEASE


DRAWN_BY_THE_FIRST_RELEASE = [242, 605, 646, 985, 19]


def test_an_unknown_strategy_names_those_there_are() -> None:
    with pytest.raises(InvalidInput) as caught:
        strategy_of("best", {})

    assert caught.value.reason == "ERROR_REASON_UNKNOWN_STRATEGY"
    assert caught.value.metadata["known"] == ", ".join(sorted(STRATEGIES))


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not have the parameters"):
        strategy_of("random", {"temperature": 1})
