"""`parfocal export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
)
from parfocal.cli._output import as_dict, print_json, working
from parfocal.cli._records import consensus_record, label_record, write_records


def export(
    project: ProjectArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what is known of a project to plain files.

    `project.json`, `labels.csv` (every answer), `consensus.csv` (what they add up to),
    `rounds.jsonl` (what was asked and measured), and `snapshot.json`, which names the immutable
    file in the object store that training reads.
    """
    with connect(server, data_dir) as client:
        found = client.projects.get(project)
        counts = {
            "labels": write_records(
                out / "labels.csv", map(label_record, client.labels.list(project))
            ),
            "consensus": write_records(
                out / "consensus.csv", map(consensus_record, client.labels.consensus(project))
            ),
            "rounds": write_records(
                out / "rounds.jsonl", map(as_dict, client.rounds.list(project))
            ),
        }
        with working("Freezing the labels"):
            snapshot = client.labels.snapshot(project)
    (out / "project.json").write_text(json.dumps(as_dict(found), indent=2))
    (out / "snapshot.json").write_text(json.dumps(as_dict(snapshot), indent=2))
    if as_json:
        print_json({"folder": str(out), **counts})
        return
    typer.echo(
        f"{counts['labels']} label(s), {counts['consensus']} queries and {counts['rounds']} "
        f"round(s) of {found.name} in {out}"
    )
