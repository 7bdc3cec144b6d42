"""Whatever the strategy and the pool: no limit is broken, and nothing is left out without need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.constraints import (
    UNCONSTRAINED,
    ClassQuota,
    Constraints,
    GroupLimit,
    RegionMask,
)
from parfocal_suggestion.limits import limits_of, predicted_classes
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.selection import Checkpoint, Selection, Strategy, no_checkpoint
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.probcover import ProbCover
from parfocal_suggestion.strategies.random_draw import RandomDraw
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.strategies.typiclust import TypiClust
from parfocal_suggestion.suggest import Suggestion, suggest
from suggestion_pools import measures, views

every_strategy = pytest.mark.parametrize(
    "strategy", [make() for make in STRATEGIES.values()], ids=list(STRATEGIES)
)
COUNT = 60


def pool_of(order: Sequence[int] = range(COUNT), *, labelled: Sequence[int] = ()) -> Pool:
    """Sixty candidates in three images and five patients, in the order given."""
    rng = np.random.default_rng(0)
    rows = np.asarray(order)
    return Pool.of(
        rows,
        streams={
            name: rng.normal(size=(COUNT, 3)).astype(np.float32)[rows] for name in ("mask", "image")
        },
        probabilities=rng.random(COUNT)[rows],
        predictions=views(COUNT)[rows],
        measures=measures(COUNT, rows),
        labelled=labelled,
        verdicts=[True] * len(labelled),
        groups={
            "source": rng.integers(0, 3, COUNT)[rows],
            "patient": np.array(list("abcde"))[rng.integers(0, 5, COUNT)][rows],
        },
        positions=rng.uniform(0, 1000, (COUNT, 3))[rows],
        seconds=rng.uniform(1, 30, COUNT)[rows],
        inside={"tissue of image 0": rng.random(COUNT)[rows] < 0.8},
    )


limits = st.builds(
    Constraints,
    groups=st.lists(
        st.builds(
            GroupLimit,
            st.sampled_from([("source",), ("patient",), ("source", "patient")]),
            st.integers(1, 9),
        ),
        max_size=2,
    ).map(tuple),
    minimum_distance_nm=st.sampled_from([0.0, 150.0, 400.0]),
    quotas=st.sampled_from(
        [(), (ClassQuota(0, share=0.25),), (ClassQuota(0, 3), ClassQuota(1, share=0.5))]
    ),
    regions=st.just((RegionMask(0, "tissue"),)),
    minutes=st.sampled_from([0.0, 0.5, 3.0]),
    seconds_column=st.just("seconds"),
)


def assert_kept(pool: Pool, picks: Sequence[int], wanted: Constraints, budget: int) -> None:
    """Fail if the picks break a limit, counted from the definitions and not by the code."""
    for limit in wanted.groups:
        keys = [tuple(pool.groups[name][row].item() for name in limit.columns) for row in picks]
        assert max(Counter(keys).values(), default=0) <= limit.maximum
    if wanted.minimum_distance_nm and pool.positions is not None:
        for at, row in enumerate(picks):
            for other in picks[:at]:
                if pool.groups["source"][row] == pool.groups["source"][other]:
                    gap = np.linalg.norm(pool.positions[row] - pool.positions[other])
                    assert gap >= wanted.minimum_distance_nm * (1 - 1e-12)
    classes = Counter(pool.class_probabilities()[picks].argmax(axis=1).tolist())
    for quota in wanted.quotas:
        most = quota.maximum or int(np.ceil(quota.share * budget))
        assert classes[quota.predicted_class] <= most
    assert all(pool.inside["tissue of image 0"][row] for row in picks)
    if wanted.minutes and pool.seconds is not None:
        assert pool.seconds[picks].sum() <= wanted.minutes * 60 * (1 + 1e-6)


def found(pool: Pool, strategy: Strategy, budget: int, wanted: Constraints) -> Suggestion:
    return suggest(pool, strategy, budget, seed=5, random_share=0.25, constraints=wanted)


def breaks_one(
    pool: Pool, picks: Sequence[int], row: int, wanted: Constraints, budget: int
) -> bool:
    try:
        assert_kept(pool, [*picks, row], wanted, budget)
    except AssertionError:
        return True
    return False


@every_strategy
@settings(max_examples=5)
@given(wanted=limits, budget=st.integers(1, 40))
def test_no_limit_is_broken_and_the_budget_is_met_where_that_can_be(
    strategy: Strategy, wanted: Constraints, budget: int
) -> None:
    pool = pool_of(labelled=(3, 17))

    suggestion = found(pool, strategy, budget, wanted)

    picks = suggestion.candidates.tolist()
    assert len(set(picks)) == len(picks) <= budget
    assert not {3, 17} & set(picks)
    assert_kept(pool, picks, wanted, budget)
    if len(picks) < budget:
        rest = set(range(COUNT)) - {3, 17, *picks}
        assert all(breaks_one(pool, picks, row, wanted, budget) for row in rest)
        assert not rest or suggestion.notes[0].startswith(f"the constraints admit {len(picks)} of")


@every_strategy
@settings(max_examples=2)
@given(order=st.permutations(range(COUNT)), wanted=limits)
def test_the_order_of_the_input_changes_nothing(
    strategy: Strategy, order: list[int], wanted: Constraints
) -> None:
    straight = found(pool_of(), strategy, 20, wanted)
    shuffled = found(pool_of(order), strategy, 20, wanted)

    assert shuffled.candidates.tobytes() == straight.candidates.tobytes()
    assert shuffled.scores.tobytes() == straight.scores.tobytes()
    assert shuffled.gate.closed_by.tobytes() == straight.gate.closed_by.tobytes()


@settings(max_examples=40)
@given(wanted=limits, budget=st.integers(1, 40))
def test_what_is_admitted_keeps_the_order_of_the_strategy(wanted: Constraints, budget: int) -> None:
    pool = pool_of()

    picks = suggest(pool, Entropy(), budget, seed=5, constraints=wanted).candidates

    ranked = suggest(pool, Entropy(), COUNT, seed=5).candidates.tolist()
    places = [ranked.index(pick) for pick in picks]
    assert places == sorted(places)


@settings(max_examples=40)
@given(wanted=limits, budget=st.integers(1, 40))
def test_entropy_takes_what_a_plain_loop_takes(wanted: Constraints, budget: int) -> None:
    pool = pool_of()
    expected: list[int] = []
    for row in suggest(pool, Entropy(), COUNT, seed=5).candidates.tolist():
        if len(expected) < budget and not breaks_one(pool, expected, row, wanted, budget):
            expected.append(row)

    picks = suggest(pool, Entropy(), budget, seed=5, constraints=wanted).candidates.tolist()

    assert picks == expected


def test_core_set_does_not_take_what_is_blocked_for_a_centre() -> None:
    points = np.array([[0.0], [9.0], [10.0], [4.0]], np.float32)
    pool = Pool.of(range(4), streams={"a": points}, labelled=[0], verdicts=[True])

    free = CoreSet().select(pool.with_blocked(np.array([2])), 1, seed=0)
    pending = CoreSet().select(pool.with_pending(np.array([2])), 1, seed=0)

    assert free.candidates.tolist() == [1]
    assert pending.candidates.tolist() == [3]


def test_what_is_blocked_covers_nothing() -> None:
    pool = pool_of(labelled=(3, 17))
    rest = np.delete(np.arange(COUNT), np.arange(20, 30))

    for strategy in (CoreSet(), ProbCover(radius=1.5)):
        blocked = strategy.select(pool.with_blocked(np.arange(20, 30)), 6, seed=0)
        absent = strategy.select(pool.only(rest), 6, seed=0)
        assert blocked.candidates.tolist() == absent.candidates.tolist()


def test_what_is_blocked_is_no_label_of_its_cluster() -> None:
    points = np.concatenate([np.linspace(0, 1, 12), np.linspace(50, 51, 8)])[:, None]
    pool = Pool.of(range(20), streams={"a": points})
    strategy = TypiClust(clusters=2)

    free = strategy.select(pool.with_blocked(np.arange(6)), 1, seed=0)
    pending = strategy.select(pool.with_pending(np.arange(6)), 1, seed=0)

    assert free.candidates[0] < 12
    assert pending.candidates[0] >= 12


def test_the_random_share_is_uniform_among_what_the_limits_admit() -> None:
    inside = np.arange(12) >= 4
    pool = Pool.of(range(12), probabilities=np.full(12, 0.5), inside={"tissue of image 0": inside})
    wanted = Constraints(regions=(RegionMask(0, "tissue"),))

    counts = np.zeros(12)
    for seed in range(300):
        some = suggest(pool, Entropy(), 4, seed=seed, random_share=0.5, constraints=wanted)
        counts[some.candidates[some.is_random]] += 1

    # 75 expected of each of eight, binomial sd 7.5.
    assert counts[:4].tolist() == [0] * 4
    assert np.all(np.abs(counts[4:] - 75) < 38)


def test_random_asked_again_is_uniform_as_before() -> None:
    groups = {"source": np.repeat([0, 1], [9, 9])}
    pool = Pool.of(range(18), groups=groups)
    wanted = Constraints(groups=(GroupLimit(("source",), 2),))

    counts = np.zeros(18)
    for seed in range(450):
        counts[suggest(pool, RandomDraw(), 4, seed=seed, constraints=wanted).candidates] += 1

    # 100 expected of each, binomial sd 9.
    assert np.all(np.abs(counts - 100) < 44)


def test_a_random_draw_that_was_passed_over_is_told() -> None:
    pool = Pool.of(range(40), probabilities=np.full(40, 0.5), groups={"source": np.zeros(40, int)})
    wanted = Constraints(groups=(GroupLimit(("source",), 3),))

    some = suggest(pool, Entropy(), 20, seed=0, random_share=0.5, constraints=wanted)

    assert some.is_random.all()
    assert some.notes == (
        "the constraints admit 3 of the 20 picks asked for",
        "at most 3 of each source: stands against 37 candidates",
        "the random share is no uniform sample of the pool: limits passed over 37 of its draws",
    )


def test_minutes_are_for_the_mean_candidate_at_first() -> None:
    pool = Pool.of(range(30), streams={name: np.eye(30) for name in ("mask", "image")})
    wanted = Constraints(minutes=1, seconds_per_item=10)

    some = suggest(pool, TwoStream(), 20, seed=0, constraints=wanted)

    alone = suggest(pool, TwoStream(), 6, seed=0)
    assert some.candidates.tolist() == alone.candidates.tolist()
    assert some.notes[1] == "1 minutes: stands against 24 candidates"


def test_shares_that_make_up_the_budget_fill_it() -> None:
    chances = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    pool = Pool.of(range(30), probabilities=chances)
    wanted = Constraints(quotas=tuple(ClassQuota(one, share=1 / 3) for one in range(3)))

    some = suggest(pool, RandomDraw(), 10, seed=0, constraints=wanted)

    assert len(some.candidates) == 10
    assert np.bincount(predicted_classes(pool)[some.candidates]).max() <= 4


def test_a_class_may_be_left_out() -> None:
    pool = pool_of()

    some = suggest(pool, RandomDraw(), 60, seed=0, constraints=Constraints(quotas=(ClassQuota(0),)))

    assert set(some.candidates) == set(np.flatnonzero(predicted_classes(pool)))


def test_distances_are_those_within_one_image() -> None:
    pool = Pool.of(
        range(4),
        positions=[[0, 0, 0], [0, 0, 3], [0, 0, 0], [0, 4, 3]],
        groups={"source": [0, 0, 1, 0]},
    )
    wanted = Constraints(minimum_distance_nm=4)

    some = suggest(pool, RandomDraw(), 4, seed=0, constraints=wanted)

    # 1 and 3 are just far enough apart, 0 and 1 are not.
    assert {2, 3} < set(some.candidates.tolist())
    assert len(some.candidates) == 3


class NothingMore(Entropy):
    """Proposes three candidates and then no more."""

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        return super().select(pool, min(budget, 3 - len(pool.pending)), seed=seed)


@pytest.mark.parametrize("wanted", [UNCONSTRAINED, Constraints(quotas=(ClassQuota(0, 9),))])
def test_a_strategy_that_proposes_no_more_is_not_asked_for_ever(wanted: Constraints) -> None:
    some = suggest(pool_of(), NothingMore(), 10, seed=0, constraints=wanted)

    assert len(some.candidates) == 3


def test_without_limits_nothing_is_closed() -> None:
    some = suggest(pool_of(), Entropy(), 10, seed=0)

    assert some.notes == ()
    assert np.all(some.gate.closed_by == -1)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Constraints(groups=(GroupLimit(("slide",), 1),)), "constraints.groups"),
        (Constraints(regions=(RegionMask(0, "tissue"),)), "constraints.regions"),
        (Constraints(minimum_distance_nm=5), "constraints.minimum_distance_nm"),
        (Constraints(quotas=(ClassQuota(0, 1),)), "constraints.quotas"),
        (Constraints(minutes=1, seconds_column="seconds"), "constraints.time"),
    ],
    ids=["group", "region", "distance", "quota", "time"],
)
def test_what_a_limit_lacks_is_named(wanted: Constraints, field: str) -> None:
    bare = Pool.of(range(3), streams={"image": np.eye(3)})

    with pytest.raises(InvalidInput) as caught:
        limits_of(wanted, bare, 1)

    assert caught.value.metadata["field"] == field


@given(wanted=limits)
def test_constraints_are_stored_and_read_back(wanted: Constraints) -> None:
    assert Constraints.from_json(wanted.to_json()) == wanted
    assert UNCONSTRAINED.to_json() == {}
