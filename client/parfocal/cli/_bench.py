"""`parfocal bench`: what strategies are worth, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from parfocal._errors import InvalidRequestError
from parfocal.cli import _local_services
from parfocal.cli._output import print_table, progress_bars

app = typer.Typer(help="Simulated campaigns against an oracle.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure what strategies are worth."""


@app.command("selection")
def selection(
    campaign: Annotated[
        str | None, typer.Argument(help="Name of a campaign. Default: list them.")
    ] = None,
    data_packs: Annotated[
        Path | None,
        typer.Option(
            "--data-packs",
            envvar="PARFOCAL_DATA_PACKS",
            help="Folder of the data packs.",
        ),
    ] = None,
    arms: Annotated[
        str, typer.Option("--arms", help="Arms to run beside random, with commas. Default: all.")
    ] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Seeds of every arm.")] = 5,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes; 0 works in this one.")
    ] = 1,
    device: Annotated[
        str, typer.Option("--device", help="Where networks work: cpu, or cuda on a graphics card.")
    ] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="Folder for results.")] = Path("runs/bench"),
) -> None:
    """Run a campaign of simulated labelling: a data set, strategies, seeds.

    Whatever is finished is not run again: stop it anywhere, and the same command goes on.
    """
    if campaign is None:
        for name in _local_services.bench_campaigns():
            typer.echo(name)
        return
    if data_packs is None:
        raise InvalidRequestError("name the folder of the data packs by --data-packs")
    with progress_bars() as bars:
        task = bars.add_task(campaign, note="")

        def progress(done: int, total: int, line: str) -> None:
            bars.update(task, completed=done, total=total)
            if line:
                bars.console.print(line, highlight=False)

        findings, page = _local_services.run_bench(
            campaign,
            packs=data_packs,
            out=out,
            arms=[name for name in arms.split(",") if name],
            seeds=seeds,
            workers=workers,
            device=device,
            progress=progress,
        )
    print_table(
        ["arm", "ALC (linear)", "minus random", "low", "high", "claim"],
        (
            [arm.name, *(f"{value:.4f}" for value in _areas(arm)), arm.verdict]
            for arm in findings.arms
        ),
    )
    typer.echo(f"report: {page}")


def _areas(arm: Any) -> list[float]:
    difference = arm.differences["linear"]
    return [arm.areas["linear"].value, difference.value, difference.low, difference.high]
