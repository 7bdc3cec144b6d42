"""Labels as flat records, and records as files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import typer

from parfocal._exchange.csv import safe_cell
from parfocal._names import last_part
from parfocal.cli._output import progress_bars
from parfocal.labels.v1.label_pb2 import (
    VERDICT_FALSE,
    VERDICT_TRUE,
    VERDICT_UNSURE,
    Consensus,
    Label,
    LabelPurpose,
)

_VERDICTS = {VERDICT_TRUE: "true", VERDICT_FALSE: "false", VERDICT_UNSURE: "unsure"}

Record = Mapping[str, Any]


def label_record(label: Label) -> dict[str, Any]:
    """Return a label as one flat record; `answer` is true, false, unsure or a class.

    `verdict` tells an answer that is unsure from a class of that name.
    """
    return {
        "label": last_part(label.name),
        "query": last_part(label.query),
        "round": label.round,
        "candidate_set": label.candidate_set,
        "candidate": label.candidate,
        "answer": label.class_name or _VERDICTS.get(label.verdict, ""),
        "verdict": _VERDICTS.get(label.verdict, ""),
        "annotator": label.annotator,
        "seconds": label.seconds,
        "time": label.create_time.ToJsonString(),
        "retracted": label.retracted,
        "strategy": label.strategy,
        "rank": label.rank,
        "model": f"{label.model.name}/{label.model.version}" if label.model.name else "",
        "client": label.client,
        "purpose": LabelPurpose.Name(label.purpose).removeprefix("LABEL_PURPOSE_").lower(),
        "revises": last_part(label.revises),
        "tags": ";".join(label.tags),
    }


def consensus_record(consensus: Consensus) -> dict[str, Any]:
    """Return a consensus as one flat record, its answer as that of a label.

    `answer` and `verdict` are empty where it is not decided.
    """
    verdict = _VERDICTS.get(consensus.verdict, "") if consensus.decided else ""
    return {
        "query": last_part(consensus.query),
        "round": consensus.round,
        "candidate_set": consensus.candidate_set,
        "candidate": consensus.candidate,
        "role": consensus.role,
        "decided": consensus.decided,
        "answer": (consensus.class_name or verdict) if consensus.decided else "",
        "verdict": verdict,
        "votes": consensus.votes,
        "agreeing": consensus.agreeing,
        "adjudicated": consensus.adjudicated,
        "probability": None if math.isnan(consensus.probability) else consensus.probability,
    }


LABEL_COLUMNS = tuple(label_record(Label()))
"""Columns of labels, also where there are none."""
CONSENSUS_COLUMNS = tuple(consensus_record(Consensus()))
"""Columns of consensuses, also where there are none."""


def write_records(file: Path, records: Iterable[Record], *, columns: Sequence[str] = ()) -> int:
    """Write records to a .csv or .jsonl file as they come, and return their number.

    Args:
        file: Where to.
        records: What to write.
        columns: Head of a table without records; otherwise it is that of the first one.

    Raises:
        typer.BadParameter: If the file has another suffix, or cannot be written.
    """
    writers: dict[str, Callable[[Path, Iterable[Record]], int]] = {
        ".csv": partial(_write_csv, columns=columns),
        ".jsonl": _write_jsonl,
    }
    if file.suffix not in writers:
        raise typer.BadParameter(f"expected a .csv or .jsonl file, got {file.name!r}")
    waiting = iter(records)
    # What fails from the start leaves the file as it was.
    first = list(islice(waiting, 1))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with progress_bars() as bars:
            task = bars.add_task(file.name, total=None, note="")
            every = _counted(chain(first, waiting), lambda: bars.advance(task))
            return writers[file.suffix](file, every)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error.strerror}") from error


def _counted(records: Iterable[Record], advance: Any) -> Iterable[Record]:
    for record in records:
        yield record
        advance()


def _write_csv(file: Path, records: Iterable[Record], *, columns: Sequence[str]) -> int:
    rows = 0
    with file.open("w", newline="", encoding="utf-8") as stream:
        for record in records:
            writer = csv.DictWriter(stream, list(record))
            if not rows:
                writer.writeheader()
            writer.writerow({name: _cell(value) for name, value in record.items()})
            rows += 1
        if columns and not rows:
            csv.writer(stream).writerow(columns)
    return rows


def _cell(value: object) -> object:
    return safe_cell(value) if isinstance(value, str) else value


def _write_jsonl(file: Path, records: Iterable[Record]) -> int:
    rows = 0
    with file.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(dict(record)) + "\n")
            rows += 1
    return rows
