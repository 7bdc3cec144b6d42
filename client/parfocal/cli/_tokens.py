"""`parfocal token`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parfocal.cli import _local_services
from parfocal.cli._options import JsonOption
from parfocal.cli._output import print_json

_ROLES = "viewer, annotator, curator or admin"
app = typer.Typer(help="The callers that a server knows.")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The server's tokens file.", metavar="FILE")],
    name: Annotated[str, typer.Argument(help="Stands on their labels.", metavar="NAME")],
    role: Annotated[str | None, typer.Option(help=f"Role in every project: {_ROLES}.")] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="Role in one project, such as vnc=annotator. As often as needed."),
    ] = None,
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="No limit on calls per second, as for services.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Give somebody a fresh token and print it; an older one of theirs ends.

    The file is made if it is missing, and keeps no more than a digest of the token. Servers that
    use it take the change up by themselves.
    """
    if role is None and not project:
        raise typer.BadParameter("give a --role, or roles by --project")
    token = _local_services.add_token(
        file,
        name,
        role=role,
        projects=dict(map(_project_and_role, project or [])),
        limited=not unlimited,
    )
    if as_json:
        print_json({"name": name, "token": token})
    else:
        typer.echo(token)


def _project_and_role(text: str) -> tuple[str, str]:
    project, equals, role = text.partition("=")
    if not (project and equals and role):
        raise typer.BadParameter(
            f"expected PROJECT=ROLE such as vnc=annotator, got {text!r}", param_hint="--project"
        )
    return project, role
