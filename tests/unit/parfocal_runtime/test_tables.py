from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from parfocal_runtime.tables import table_bytes


@pytest.mark.parametrize("ids", [np.arange(100_000), np.array([-5, 3, 3, 2**60]), np.empty(0, int)])
def test_a_column_of_differences_reads_as_it_was_written(ids: NDArray[np.int64]) -> None:
    table = pa.table({"id": ids, "word": ["same"] * len(ids)})

    content = table_bytes(table, ascending=["id"])

    assert pq.read_table(pa.BufferReader(content)).equals(table)
    assert content == table_bytes(table, ascending=["id"])


def test_ids_in_order_take_hardly_any_room() -> None:
    table = pa.table({"id": np.arange(100_000)})

    assert len(table_bytes(table, ascending=["id"])) < len(table_bytes(table)) / 20
