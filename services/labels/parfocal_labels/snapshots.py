"""Snapshots: decided queries as a Parquet file that is named by its content.

Columns, one row for each decided query, ordered by round, rank, candidate set and candidate:

    round          string
    candidate_set  string
    candidate      int64    number in the set
    rank           int32    place in the round
    role           string   strategy | random
    strategy       string   that chose it
    model          string   that proposed the candidate; null where not known
    model_version  int64
    verdict        bool     null where unsure or tied, and where classes are asked for
    class_name     string   null where unsure or tied, and where verdicts are asked for
    votes          int32    votes that count
    agreeing       int32    votes for the consensus
    adjudicated    bool     whether a curator decided, whatever the votes say

Nothing in the file depends on the database it comes from: the same labels give the same name.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import Answer, Verdict
from parfocal_labels.records import Project, QueryConsensus, Snapshot
from parfocal_labels.rows import snapshot_from_row
from parfocal_labels.schema import snapshots
from parfocal_runtime.database import insert_new
from parfocal_runtime.errors import NotFound

SCHEMA = pa.schema(
    [
        ("round", pa.string()),
        ("candidate_set", pa.string()),
        ("candidate", pa.int64()),
        ("rank", pa.int32()),
        ("role", pa.string()),
        ("strategy", pa.string()),
        ("model", pa.string()),
        ("model_version", pa.int64()),
        ("verdict", pa.bool_()),
        ("class_name", pa.string()),
        ("votes", pa.int32()),
        ("agreeing", pa.int32()),
        ("adjudicated", pa.bool_()),
    ]
)

_VERDICTS = {Verdict.TRUE: True, Verdict.FALSE: False}


def snapshot_table(items: Iterable[QueryConsensus]) -> pa.Table:
    """Return the table of decided queries, in the order of the module's description."""
    rows = sorted((_row(item) for item in items), key=_order)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(item: QueryConsensus) -> dict[str, object]:
    spec, consensus = item.query.spec, item.consensus
    answer = consensus.answer or Answer()
    return {
        "round": spec.round,
        "candidate_set": spec.candidate_set,
        "candidate": spec.candidate,
        "rank": spec.rank,
        "role": spec.role.value,
        "strategy": spec.strategy,
        "model": spec.model.name if spec.model else None,
        "model_version": spec.model.version if spec.model else None,
        "verdict": _VERDICTS.get(answer.verdict) if answer.verdict else None,
        "class_name": answer.class_name,
        "votes": consensus.votes,
        "agreeing": consensus.agreeing,
        "adjudicated": consensus.adjudicated,
    }


def _order(row: dict[str, object]) -> tuple[object, ...]:
    return (row["round"], row["rank"], row["candidate_set"], row["candidate"])


async def find_snapshot(connection: AsyncConnection, project: Project, sha256: str) -> Snapshot:
    """Return the snapshot of `project` that has this digest.

    Raises:
        NotFound: If there is none (`ERROR_REASON_SNAPSHOT_NOT_FOUND`).
    """
    statement = select(snapshots).where(
        snapshots.c.project_id == project.id, snapshots.c.sha256 == sha256
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        name = f"projects/{project.name}/snapshots/{sha256}"
        raise NotFound("ERROR_REASON_SNAPSHOT_NOT_FOUND", f"there is no {name}", snapshot=name)
    return snapshot_from_row(row, project=project.name)


async def note_snapshot(
    connection: AsyncConnection,
    project: Project,
    *,
    sha256: str,
    path: str,
    rows: int,
    now: datetime,
) -> Snapshot:
    """Note a snapshot of `project` as it was read, or return the older note of the same file."""
    values = {
        "project_id": project.id,
        "sha256": sha256,
        "path": path,
        "rows": rows,
        "last_sequence": project.last_sequence,
        "create_time": now,
    }
    await connection.execute(insert_new(connection, snapshots).values(values))
    return await find_snapshot(connection, project, sha256)
