"""What every strategy of the catalogue has to hold, whatever it chooses by."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_runtime.errors import Cancelled, InvalidInput
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.selection import Selection, Strategy
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.strategies.acft import Acft
from parfocal_suggestion.strategies.two_stream import TwoStream
from suggestion_pools import alike, points, pool_of

VARIANTS = {
    "acft-diversity": Acft(entropy_weight=0, diversity_weight=1, mode="normalised"),
    "two-stream-avoiding": TwoStream(avoid_overrepresented=True),
}
every_strategy = pytest.mark.parametrize(
    "strategy",
    [*(make() for make in STRATEGIES.values()), *VARIANTS.values()],
    ids=[*STRATEGIES, *VARIANTS],
)


def those_that_need(what: str) -> pytest.MarkDecorator:
    """The strategies of the catalogue that say that they need it."""
    made = [make() for make in STRATEGIES.values() if getattr(make, f"needs_{what}")]
    return pytest.mark.parametrize("strategy", made, ids=lambda strategy: strategy.name)


def assert_same(one: Selection, other: Selection) -> None:
    """Fail unless both are the same, bit for bit."""
    for name in ("candidates", "scores", "cells", "clusters", "distances"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


@every_strategy
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(40)), budget=st.integers(1, 39))
def test_a_permutation_of_the_input_changes_nothing(
    strategy: Strategy, order: list[int], budget: int
) -> None:
    straight = pool_of(range(40), labelled=(3, 9), excluded=(1,))
    shuffled = pool_of(np.array(order), labelled=(9, 3), excluded=(1,))

    assert_same(
        strategy.select(shuffled, budget, seed=7), strategy.select(straight, budget, seed=7)
    )


@every_strategy
@settings(max_examples=15, deadline=None)
@given(
    states=st.lists(st.sampled_from("ffffle"), min_size=1, max_size=60), budget=st.integers(1, 80)
)
def test_the_budget_is_met_exactly_or_the_whole_pool_is_taken(
    strategy: Strategy, states: list[str], budget: int
) -> None:
    free, labelled, excluded = (
        tuple(candidate for candidate, state in enumerate(states) if state == wanted)
        for wanted in "fle"
    )
    pool = pool_of(range(len(states)), labelled=labelled, excluded=excluded)

    chosen = strategy.select(pool, budget, seed=7).candidates.tolist()

    assert len(chosen) == min(budget, len(free))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(free)


@every_strategy
def test_a_pool_of_15_and_a_budget_of_20_give_15(strategy: Strategy) -> None:
    selection = strategy.select(pool_of(range(15)), 20, seed=7)

    assert sorted(selection.candidates) == list(range(15))


@every_strategy
def test_the_same_seed_gives_the_same_answer(strategy: Strategy) -> None:
    pool = pool_of(range(80), labelled=(5, 6, 7))

    assert_same(strategy.select(pool, 20, seed=7), strategy.select(pool, 20, seed=7))


@every_strategy
def test_pending_candidates_are_not_chosen(strategy: Strategy) -> None:
    pool = pool_of(range(30)).with_pending(np.arange(10))

    assert sorted(strategy.select(pool, 30, seed=7).candidates) == list(range(10, 30))


@every_strategy
def test_coinciding_points_survive(strategy: Strategy) -> None:
    pool = alike(np.ones((30, 4), np.float32))

    assert len(set(strategy.select(pool, 12, seed=7).candidates.tolist())) == 12


@every_strategy
def test_points_closer_than_float32_can_tell_apart_survive(strategy: Strategy) -> None:
    pool = alike(np.float32(1e6) + points(30) * np.float32(0.02))

    assert len(set(strategy.select(pool, 12, seed=7).candidates.tolist())) == 12


@every_strategy
def test_the_largest_features_allowed_survive(strategy: Strategy) -> None:
    huge = points(30)
    huge *= np.float32(9e14) / np.abs(huge).max()
    pool = alike(huge)

    assert len(set(strategy.select(pool, 12, seed=7).candidates.tolist())) == 12


@every_strategy
def test_a_constant_feature_is_allowed(strategy: Strategy) -> None:
    pool = alike(np.hstack([points(25), np.full((25, 1), 3, np.float32)]))

    assert len(strategy.select(pool, 10, seed=7).candidates) == 10


@every_strategy
def test_one_candidate_is_chosen(strategy: Strategy) -> None:
    assert strategy.select(pool_of(range(1)), 3, seed=7).candidates.tolist() == [0]


@every_strategy
def test_nothing_is_chosen_where_all_is_labelled(strategy: Strategy) -> None:
    selection = strategy.select(pool_of(range(4), labelled=(0, 1, 2, 3)), 3, seed=7)

    assert selection.candidates.tolist() == []
    assert len(selection.cells) == 4


@every_strategy
def test_float32_and_float64_agree(strategy: Strategy) -> None:
    single = pool_of(range(50))
    assert single.probabilities is not None
    assert single.predictions is not None
    double = Pool.of(
        np.arange(50),
        streams={name: stream.astype(np.float64) for name, stream in single.streams.items()},
        probabilities=single.probabilities.astype(np.float64),
        predictions=single.predictions.astype(np.float64),
        measures={name: each.astype(np.float64) for name, each in single.measures.items()},
    )

    assert_same(strategy.select(single, 15, seed=7), strategy.select(double, 15, seed=7))


@every_strategy
def test_what_was_derived_is_used_as_it_is(strategy: Strategy) -> None:
    pool = pool_of(range(60), labelled=(1, 2))

    filled = strategy.resolved(pool, 18)

    assert filled.resolved(pool, 18) == filled
    assert_same(filled.select(pool, 18, seed=7), strategy.select(pool, 18, seed=7))


@every_strategy
def test_excluded_candidates_influence_nothing(strategy: Strategy) -> None:
    part = pool_of(range(30), excluded=tuple(range(20, 30)))
    alone = pool_of(range(20))

    assert_same(strategy.select(part, 8, seed=7), strategy.select(alone, 8, seed=7))


@every_strategy
def test_scores_are_float32_and_one_for_each_pick(strategy: Strategy) -> None:
    selection = strategy.select(pool_of(range(30)), 10, seed=7)

    assert selection.scores.shape == (10,)
    assert selection.scores.dtype == np.float32


@every_strategy
def test_nothing_needs_to_be_labelled(strategy: Strategy) -> None:
    selection = strategy.select(pool_of(range(40)), 12, seed=7)

    assert len(set(selection.candidates.tolist())) == 12


@every_strategy
def test_every_candidate_twice_is_no_hindrance(strategy: Strategy) -> None:
    rows = np.tile(np.arange(20), 2)
    once = pool_of(range(20))
    assert once.probabilities is not None
    assert once.predictions is not None
    twice = Pool.of(
        np.arange(40),
        streams={name: stream[rows] for name, stream in once.streams.items()},
        probabilities=once.probabilities[rows],
        predictions=once.predictions[rows],
        measures={name: measure[rows] for name, measure in once.measures.items()},
    )

    assert len(set(strategy.select(twice, 30, seed=7).candidates.tolist())) == 30


@every_strategy
@pytest.mark.parametrize("labelled", [(), (3, 4)], ids=["without labels", "with labels"])
def test_more_candidates_than_a_block_give_the_same_answer(
    strategy: Strategy, labelled: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(range(60), labelled=labelled)
    whole = strategy.select(pool, 15, seed=7)

    for name, module in list(sys.modules.items()):
        if name.startswith("parfocal_suggestion") and hasattr(module, "_ENTRIES"):
            monkeypatch.setattr(module, "_ENTRIES", 200)
    parts = strategy.select(pool, 15, seed=7)

    # The products of blocks may round otherwise, but not so that another candidate is chosen.
    assert parts.candidates.tolist() == whole.candidates.tolist()
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("given", ["streams", "probabilities", "predictions", "measures"])
def test_what_is_no_number_never_reaches_a_strategy(given: str, bad: float) -> None:
    values = np.full((5, 2, 2) if given == "predictions" else (5, 2), 0.5)
    values[[1, 3], 0] = bad
    numbers = {"streams": {"a": values}, "measures": {"a": values[:, 0]}}.get(given, values)

    with pytest.raises(InvalidInput, match="20, 40") as caught:
        Pool.of([10, 20, 30, 40, 50], **{given: numbers})  # type: ignore[arg-type]

    assert caught.value.metadata["field"].startswith(("features", given))


@those_that_need("features")
def test_a_missing_stream_is_named(strategy: Strategy) -> None:
    bare = Pool.of(np.arange(5), probabilities=np.full(5, 0.5))

    with pytest.raises(InvalidInput, match="no feature stream"):
        strategy.select(bare, 2, seed=7)


@those_that_need("probabilities")
def test_missing_probabilities_are_named(strategy: Strategy) -> None:
    bare = Pool.of(np.arange(5), streams={"a": points(5)})

    with pytest.raises(InvalidInput) as caught:
        strategy.select(bare, 2, seed=7)

    assert caught.value.metadata["field"] == "probabilities"


@those_that_need("predictions")
def test_missing_predictions_are_named(strategy: Strategy) -> None:
    bare = Pool.of(np.arange(5), probabilities=np.full(5, 0.5))

    with pytest.raises(InvalidInput) as caught:
        strategy.select(bare, 2, seed=7)

    assert caught.value.metadata["field"] == "predictions"


@those_that_need("measure")
def test_a_missing_measure_is_named(strategy: Strategy) -> None:
    bare = Pool.of(np.arange(5), probabilities=np.full(5, 0.5))

    with pytest.raises(InvalidInput) as caught:
        strategy.select(bare, 2, seed=7)

    assert caught.value.metadata["field"] == "measures"


@those_that_need("features")
def test_a_caller_who_left_stops_the_work(strategy: Strategy) -> None:
    flag = CancelFlag()
    flag.set()

    with pytest.raises(Cancelled):
        strategy.select(pool_of(range(30)), 10, seed=7, checkpoint=flag.check)
