from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from parfocal.suggestion.v1 import strategy_pb2 as pb
from parfocal_suggestion.convert_strategy import strategy_from_pb, strategy_to_pb
from parfocal_suggestion.nesting import parameters_of
from parfocal_suggestion.strategies import STRATEGIES


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_travels_there_and_back(name: str) -> None:
    strategy = STRATEGIES[name]()

    message = strategy_to_pb(name, parameters_of(strategy))

    assert strategy_from_pb(message) == strategy


def test_every_strategy_of_the_contract_is_there() -> None:
    fields = pb.Strategy.DESCRIPTOR.oneofs_by_name["strategy"].fields

    assert {field.name.replace("_", "-") for field in fields} == set(STRATEGIES)


def test_numbers_arrive_under_their_own_name() -> None:
    message = pb.Strategy(
        two_stream=pb.TwoStreamStrategy(
            first_stream="a",
            second_stream="b",
            first_clusters=2,
            second_clusters=3,
            queries_per_cell=4,
            starts=5,
            avoid_overrepresented=True,
        )
    )

    assert asdict(strategy_from_pb(message)) == {
        "first_stream": "a", "second_stream": "b", "first_clusters": 2, "second_clusters": 3,
        "queries_per_cell": 4, "starts": 5, "avoid_overrepresented": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
def test_parameters_are_named_as_the_fields_of_the_contract(name: str) -> None:
    message = pb.Strategy.DESCRIPTOR.fields_by_name[name.replace("-", "_")].message_type

    assert message is not None
    assert {field.name for field in fields(STRATEGIES[name])} == set(message.fields_by_name)
