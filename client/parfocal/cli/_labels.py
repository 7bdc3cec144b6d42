"""`parfocal labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parfocal._names import last_part
from parfocal.cli._existing import of_round
from parfocal.cli._labels_import import import_labels
from parfocal.cli._labels_propagate import propagate
from parfocal.cli._labels_review import adjudicate, agreement, disputed, revise
from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    RoundOption,
    ServerOption,
    connect,
)
from parfocal.cli._output import print_json, print_messages
from parfocal.cli._records import LABEL_COLUMNS, consensus_record, label_record, write_records

app = typer.Typer(help="What people answered, and what it adds up to.")
for command in (agreement, revise, adjudicate, disputed, propagate):
    app.command()(command)
app.command("import")(import_labels)


@app.command("list")
def list_labels(
    project: ProjectArgument,
    round_id: RoundOption = "",
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List labels in the order in which they were given."""
    with connect(server, data_dir) as client:
        print_messages(
            of_round(client, project, round_id, client.labels.list(project, round=round_id)),
            as_json=as_json,
            columns={
                "label": lambda each: last_part(each.name),
                "round": lambda each: each.round,
                "candidate": lambda each: each.candidate,
                "answer": lambda each: label_record(each)["answer"],
                "annotator": lambda each: each.annotator,
                "seconds": lambda each: f"{each.seconds:.1f}",
                "retracted": lambda each: "yes" if each.retracted else "",
            },
        )


@app.command()
def consensus(
    project: ProjectArgument,
    round_id: RoundOption = "",
    decided: Annotated[bool, typer.Option("--decided", help="Only what is decided.")] = False,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the labels of each query add up to."""
    with connect(server, data_dir) as client:
        found = client.labels.consensus(project, round=round_id, decided_only=decided)
        print_messages(
            of_round(client, project, round_id, found),
            as_json=as_json,
            columns={
                "query": lambda each: last_part(each.query),
                "round": lambda each: each.round,
                "candidate": lambda each: each.candidate,
                "answer": lambda each: consensus_record(each)["answer"] or "open",
                "votes": lambda each: f"{each.agreeing}/{each.votes}",
            },
        )


@app.command()
def export(
    project: ProjectArgument,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv or .jsonl.")],
    round_id: RoundOption = "",
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all labels to a file."""
    with connect(server, data_dir) as client:
        found = of_round(client, project, round_id, client.labels.list(project, round=round_id))
        rows = write_records(out, map(label_record, found), columns=LABEL_COLUMNS)
    if as_json:
        print_json({"file": str(out), "rows": rows})
    else:
        typer.echo(f"{rows} label(s) in {out}")
