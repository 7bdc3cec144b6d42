"""`parfocal project`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from parfocal._names import last_part
from parfocal.cli._options import (
    LARGEST_INTEGER,
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
)
from parfocal.cli._output import as_dict, print_json, print_messages, print_table
from parfocal.labels.v1.project_pb2 import Project, TaskKind

app = typer.Typer(help="Projects: labelling efforts with their classes and rules.")


class Task(StrEnum):
    """What people are asked."""

    verify = "verify"
    classify = "classify"


class Rule(StrEnum):
    """How votes become a consensus."""

    first_vote = "first-vote"
    majority = "majority"
    n_of_m = "n-of-m"
    dawid_skene = "dawid-skene"


class Tie(StrEnum):
    """What becomes of a query whose votes agree on no answer."""

    unsure = "unsure"
    earliest = "earliest"
    adjudicate = "adjudicate"


@app.command()
def create(
    project: ProjectArgument,
    task: Annotated[Task, typer.Option(help="Is the mask right, or which class is it.")] = (
        Task.verify
    ),
    classes: Annotated[
        str, typer.Option("--classes", help="Classes of a classify project, comma between.")
    ] = "",
    votes: Annotated[
        int,
        typer.Option("--votes", min=1, max=LARGEST_INTEGER, help="Votes that decide a query."),
    ] = 1,
    consensus: Annotated[
        Rule | None, typer.Option("--consensus", help="Default: majority of several votes.")
    ] = None,
    to_agree: Annotated[
        int,
        typer.Option(
            "--votes-to-agree",
            min=0,
            max=LARGEST_INTEGER,
            help="Equal votes that decide, under n-of-m.",
        ),
    ] = 0,
    ties: Annotated[Tie, typer.Option("--ties", help="What a tie becomes.")] = Tie.unsure,
    gold: Annotated[
        float, typer.Option("--gold-share", help="Share of hidden queries with a known answer.")
    ] = 0.0,
    repeats: Annotated[
        float, typer.Option("--repeat-share", help="Share of hidden repeats of one's own.")
    ] = 0.0,
    blind: Annotated[bool, typer.Option("--blind", help="Hide hints and others' answers.")] = False,
    display_name: Annotated[str, typer.Option(help="What people call it.")] = "",
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a project; the same one again is fine."""
    with connect(server, data_dir) as client:
        created = client.projects.create(
            project,
            task=task.value,
            classes=[name.strip() for name in classes.split(",") if name.strip()],
            votes_needed=votes,
            consensus=consensus.value if consensus else None,
            votes_to_agree=to_agree,
            ties=ties.value,
            gold_share=gold,
            repeat_share=repeats,
            blind=blind,
            display_name=display_name,
        )
    _show(created, as_json=as_json)


@app.command("list")
def list_projects(
    server: ServerOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """List projects."""
    with connect(server, data_dir) as client:
        print_messages(
            client.projects.list(),
            as_json=as_json,
            columns={
                "project": lambda each: last_part(each.name),
                "task": _task,
                "votes": lambda each: each.votes_needed,
                "classes": lambda each: ", ".join(each.classes),
                "name": lambda each: each.display_name,
            },
        )


@app.command()
def show(
    project: ProjectArgument,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a project and how far it is."""
    with connect(server, data_dir) as client:
        found = client.projects.get(project)
        progress = client.labels.progress(project)
    if as_json:
        print_json(as_dict(found) | {"progress": as_dict(progress)})
        return
    _show(found, as_json=False)
    print_table(
        ["queries", "decided", "disputed", "leased", "labels", "median seconds"],
        [
            [
                progress.queries,
                progress.decided,
                progress.disputed,
                progress.leased,
                progress.labels,
                f"{progress.median_seconds:.1f}",
            ]
        ],
    )


def _show(project: Project, *, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(project))
    else:
        typer.echo(f"{project.name}: {_task(project)}, {project.votes_needed} vote(s) a query")


def _task(project: Project) -> str:
    return TaskKind.Name(project.task_kind).removeprefix("TASK_KIND_").lower()
