"""Which candidates a snapshot accepts: judged right, or given a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Accepted:
    """A candidate that people accepted, and the query that says so.

    Attributes:
        candidate: Number in its set.
        class_name: The class it was given; empty where it was judged right.
        provenance: What the snapshot says of the query, by name of the column.
    """

    candidate: int
    class_name: str
    provenance: dict[str, Any]


def accepted_candidates(table: pa.Table) -> dict[str, list[Accepted]]:
    """Return the accepted candidates of each set, by their numbers.

    Where several rounds asked about a candidate, the last answer that is not unsure counts, in
    the order of the snapshot: by round, then rank.
    """
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for row in _rows(table):
        if row["verdict"] is not None or row["class_name"] is not None:
            last[row["candidate_set"], row["candidate"]] = row
    found: dict[str, list[Accepted]] = {}
    for (name, candidate), row in sorted(last.items()):
        if row["verdict"] is not False:
            found.setdefault(name, []).append(
                Accepted(candidate, row["class_name"] or "", _provenance(row))
            )
    return found


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _provenance(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and value == value}
