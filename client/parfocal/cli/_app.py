"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

import parfocal
from parfocal.cli import (
    _annotators,
    _bench,
    _demo,
    _export,
    _images,
    _labels,
    _models,
    _project,
    _round,
    _tokens,
    _up,
)
from parfocal.cli._failures import FailingGroup

app = typer.Typer(
    name="parfocal",
    cls=FailingGroup,
    help="Spends an expert's eye where it counts: active learning on microscopy images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(_up.up)
app.command("demo")(_demo.demo)
app.add_typer(_project.app, name="project")
app.add_typer(_images.app, name="images")
app.add_typer(_round.app, name="round")
app.add_typer(_labels.app, name="labels")
app.add_typer(_annotators.app, name="annotators")
app.add_typer(_models.app, name="models")
app.add_typer(_tokens.app, name="token")
app.add_typer(_bench.app, name="bench")
app.command("export")(_export.export)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(parfocal.__version__)
        raise typer.Exit


@app.callback()
def parfocal_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Spend an expert's eye where it counts: active learning on microscopy images."""
