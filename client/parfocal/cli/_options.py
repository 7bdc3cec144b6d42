"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from parfocal._client import Client

LARGEST_INTEGER = 2**31 - 1
"""Largest number of a message's int32."""
LARGEST_SEED = 2**64 - 1
"""Largest number of a message's uint64."""

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
RoundOption = Annotated[str, typer.Option("--round", help="Only this round.")]
VoxelSizeOption = Annotated[
    str | None,
    typer.Option("--voxel-size", help="Z,Y,X in nanometres. Default: what the file says."),
]
ProjectArgument = Annotated[str, typer.Argument(help="Name of the project.", metavar="PROJECT")]


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
