"""`parfocal demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parfocal.cli import _local_services
from parfocal.cli._options import VoxelSizeOption, voxel_size_nm


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("runs/demo"),
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Image in any format that is imported. Default: generated."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Its truth: nonzero or object numbers.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="x:A,B: columns below the share A train, those from B on score. Default: 0.6,0.7.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each arm.")] = 2,
    budget: Annotated[int, typer.Option("--budget", min=1, help="Answers a round and arm.")] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    level: Annotated[
        int | None, typer.Option("--level", min=0, help="Resolution level to work on.")
    ] = None,
    voxel_size: VoxelSizeOption = None,
) -> None:
    """Run one campaign against an oracle, beside random sampling, and write a report.

    Everything runs inside this command. A folder that holds the same campaign is gone on with.
    """
    _local_services.run_demo(
        out=out,
        images=images,
        truth=truth,
        split=split,
        rounds=rounds,
        budget=budget,
        seed=seed,
        level=level,
        voxel_size_nm=voxel_size_nm(voxel_size),
    )
