"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from parfocal._client import Client
from parfocal._names import child_name, last_part, project_name

LARGEST_INTEGER = 2**31 - 1
"""Largest number of a message's int32."""
LARGEST_SEED = 2**64 - 1
"""Largest number of a message's uint64."""

_KINDS = {
    "rounds": "round",
    "queries": "query",
    "labels": "label",
    "candidates": "candidate set",
}


def own_part(collection: str) -> Callable[[typer.Context, Any], Any]:
    """Return a callback that takes names inside of PROJECT: by themselves, or in full.

    Full is `projects/{project}/{collection}/{name}`, as services print it. The command gets the
    last part. Of an option that is repeated each is taken so.
    """

    def named(context: typer.Context, value: Any) -> Any:
        if not isinstance(value, str):
            return value and [named(context, each) for each in value]
        project, own = context.params["project"], last_part(value)
        if value not in (own, child_name(project_name(project), collection, own)):
            raise typer.BadParameter(
                f"{value!r} is no {_KINDS[collection]} of the project {last_part(project)!r}"
            )
        return own

    return named


ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="Address of the server. Default: PARFOCAL_SERVER, or `up`."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Data folder of `up`. Default: PARFOCAL_DATA_DIR, ~/.parfocal."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
RoundOption = Annotated[
    str, typer.Option("--round", help="Only this round.", callback=own_part("rounds"))
]
VoxelSizeOption = Annotated[
    str | None,
    typer.Option("--voxel-size", help="Z,Y,X in nanometres. Default: what the file says."),
]
# Read first: names inside of it are compared with it.
ProjectArgument = Annotated[
    str, typer.Argument(help="Name of the project.", metavar="PROJECT", is_eager=True)
]


def finite(value: float) -> float:
    """Return the value of an option; a range without an end has infinity in it.

    Raises:
        typer.BadParameter: If it is infinite.
    """
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def connect(server: str | None, data_dir: Path | None) -> Client:
    """Return a client; the token is found as everywhere."""
    return Client(server, data_dir=data_dir)


def voxel_size_nm(text: str | None) -> tuple[float, float, float] | None:
    """Return the numbers of a voxel size such as `50,4.6,4.6`.

    Raises:
        typer.BadParameter: If there are not three.
    """
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"expected three numbers such as 50,4.6,4.6, got {text!r}", param_hint="--voxel-size"
        ) from None
    return (z, y, x)
