"""`parfocal annotators`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

import typer

from parfocal._names import last_part
from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
)
from parfocal.cli._output import as_dict, print_json, print_messages
from parfocal.labels.v1.project_pb2 import Annotator

app = typer.Typer(help="What people may judge, and how well they do.")


@app.command("list")
def list_annotators(
    project: ProjectArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List annotators with their counts."""
    with connect(server, data_dir) as client:
        print_messages(
            client.annotators.list(project),
            as_json=as_json,
            columns={
                "annotator": _name,
                "skills": lambda each: ", ".join(each.skills),
                "labels": lambda each: each.labels,
                "gold right": lambda each: f"{each.gold_right}/{each.gold_answered}",
                "repeats same": lambda each: f"{each.repeats_same}/{each.repeats_answered}",
                "skipped": lambda each: each.skipped,
                "suspended": lambda each: "yes" if each.suspended else "",
            },
        )


@app.command("set")
def set_annotator(
    project: ProjectArgument,
    annotator: Annotated[str, typer.Argument(help="Who.", metavar="ANNOTATOR")],
    skills: Annotated[
        str | None, typer.Option("--skills", help="All their skills, comma between.")
    ] = None,
    suspended: Annotated[
        bool | None,
        typer.Option("--suspend/--resume", help="Whether they are handed queries."),
    ] = None,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what somebody may judge, from the next lease on."""
    if skills is None and suspended is None:
        raise typer.BadParameter("give --skills, --suspend or --resume")
    given = None if skills is None else [name for name in map(str.strip, skills.split(",")) if name]
    with connect(server, data_dir) as client:
        changed = client.annotators.update(project, annotator, skills=given, suspended=suspended)
    if as_json:
        print_json(as_dict(changed))
        return
    state = "suspended" if changed.suspended else "active"
    typer.echo(f"{_name(changed)}: {state}, skills: {', '.join(changed.skills) or 'none'}")


def _name(annotator: Annotator) -> str:
    return unquote(last_part(annotator.name))
