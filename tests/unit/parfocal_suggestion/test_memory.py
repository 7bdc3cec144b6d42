from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_suggestion import labelled_distances as rounds
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.strategies.core_set import CoreSet


def points(rows: int, *, seed: int = 0) -> Floats:
    """Points (rows, 3), some of them in one place."""
    return np.random.default_rng(seed).integers(0, 40, (rows, 3)).astype(np.float32)


def held(features: Floats, *, most_bytes: int = 1 << 20) -> tuple[Memory, Floats]:
    """A memory, and the features as it gives them."""
    memory = Memory(most_bytes)
    return memory, memory.features("here", lambda: features)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    few=st.sampled_from([1, 10, 256]),
    pending=st.integers(0, 5),
)
def test_rounds_with_a_memory_are_rounds_without(steps: list[int], few: int, pending: int) -> None:
    memory, features = held(points(200))
    order = np.random.default_rng(1).permutation(200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "_FEW", few)
        for known in np.cumsum(steps):
            labelled = order[:known]
            pools = (
                Pool.of(
                    range(200),
                    streams={"a": features},
                    labelled=labelled,
                    verdicts=[True] * len(labelled),
                    memory=each,
                )
                for each in (memory, None)
            )
            drawn = np.sort(order[-pending:] if pending else order[:0])
            with_memory, without = (
                CoreSet().select(pool.with_pending(drawn), 9, seed=0) for pool in pools
            )

            assert with_memory.candidates.tolist() == without.candidates.tolist()
            assert with_memory.scores.tobytes() == without.scores.tobytes()


def test_labels_that_were_taken_back_start_anew() -> None:
    memory, features = held(points(50))
    for labelled in ([1, 2, 3], [1, 3]):
        pool = Pool.of(
            range(50),
            streams={"a": features},
            labelled=labelled,
            verdicts=[True] * len(labelled),
            memory=memory,
        )
        CoreSet().select(pool, 5, seed=0)
        remembered = memory.distances(features)
        assert remembered is not None
        assert remembered[0].tolist() == labelled


def test_distances_are_known_of_what_is_held_only() -> None:
    memory, features = held(points(50))
    squared = np.zeros(50, np.float32)

    memory.remember(features, np.array([3]), squared)
    memory.remember(features[:20], np.array([4]), squared[:20])

    assert memory.distances(features) is not None
    assert memory.distances(features[:]) is not None
    assert memory.distances(features[:20]) is None
    assert memory.distances(features.copy()) is None


def test_an_array_is_read_once_and_the_oldest_is_forgotten() -> None:
    memory, reads = Memory(2 * (50 * 12 + 200)), []

    def read(name: str) -> Floats:
        reads.append(name)
        return points(50)

    for name in ("a", "b", "a", "c", "a", "b"):
        memory.features(name, partial(read, name))

    assert reads == ["a", "b", "c", "b"]


def test_what_is_too_large_is_not_held() -> None:
    memory, features = held(points(50), most_bytes=100)

    assert memory.distances(features) is None
    features[0] = 1  # nobody else has it, so that it may be written to


def test_what_is_held_cannot_be_written_to() -> None:
    _, features = held(points(50))

    with pytest.raises(ValueError, match="read-only"):
        features[0] = 1


def test_a_hash_is_computed_once() -> None:
    memory, features = held(points(50))
    computed = []

    def compute() -> str:
        computed.append(1)
        return "abc"

    hashes = [memory.sha256(features, compute) for _ in range(3)]

    assert (hashes, len(computed)) == (["abc"] * 3, 1)
    memory.sha256(features[:5], compute)
    assert len(computed) == 2
