from __future__ import annotations

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_loop.strategies import with_inner


def test_strategies_inside_are_found_the_outer_first() -> None:
    foreground = pb.Strategy(foreground_random=pb.ForegroundRandomStrategy(measure="area"))
    core_set = pb.Strategy(core_set=pb.CoreSetStrategy())
    shares = pb.Strategy(
        shares=pb.SharesStrategy(
            parts=[pb.WeightedStrategy(strategy=foreground), pb.WeightedStrategy(strategy=core_set)]
        )
    )
    sequence = pb.Strategy(sequence=pb.SequenceStrategy(shortlist=shares))

    found = with_inner(sequence)

    assert [kind for kind, _ in found] == [
        "sequence", "shares", "foreground_random", "core_set", "core_set",
    ]  # fmt: skip
    assert found[2][1].measure == "area"
    assert with_inner(pb.Strategy()) == []


def test_what_is_not_said_is_entropy_and_core_set() -> None:
    for strategy in (
        pb.Strategy(sequence=pb.SequenceStrategy()),
        pb.Strategy(product=pb.ProductStrategy()),
        pb.Strategy(shares=pb.SharesStrategy()),
    ):
        assert [kind for kind, _ in with_inner(strategy)][1:] == ["entropy", "core_set"]
