from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import Consensus
from parfocal_labels.records import ModelVersion, Query, QueryConsensus, QuerySpec, QueryState
from parfocal_labels.snapshots import SCHEMA, snapshot_table
from parfocal_runtime.tables import table_bytes

ANSWERS = (TRUE, FALSE, UNSURE, Answer(class_name="glia"))


def item(number: int, answer: Answer = TRUE, *, query_id: int = 1) -> QueryConsensus:
    spec = QuerySpec("r1", "set", number, rank=number, model=ModelVersion("unet", 2))
    query = Query(query_id, spec, QueryState.DECIDED, 1, datetime.now(UTC))
    return QueryConsensus(query, Consensus(True, answer, votes=1, agreeing=1))


def test_an_answer_is_a_verdict_or_a_class_or_neither() -> None:
    table = snapshot_table([item(number, answer) for number, answer in enumerate(ANSWERS)])

    assert table["verdict"].to_pylist() == [True, False, None, None]
    assert table["class_name"].to_pylist() == [None, None, None, "glia"]


def test_a_snapshot_of_nothing_has_the_columns_too() -> None:
    table = snapshot_table([])

    assert table.num_rows == 0
    assert table.schema == SCHEMA


@given(st.permutations(range(6)))
def test_the_same_labels_give_the_same_bytes(order: list[int]) -> None:
    first = snapshot_table([item(number) for number in range(6)])
    second = snapshot_table([item(number, query_id=number + 7) for number in order])

    assert table_bytes(first) == table_bytes(second)


def test_another_label_gives_other_bytes() -> None:
    first, second = (snapshot_table([item(0, answer)]) for answer in (TRUE, FALSE))

    assert table_bytes(first) != table_bytes(second)
