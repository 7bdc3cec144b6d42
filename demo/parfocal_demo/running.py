"""The entry point: services up, campaign through, report written."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parfocal import Client, InvalidRequestError
from parfocal_demo.artifacts import PROJECT
from parfocal_demo.campaign import run_campaign
from parfocal_demo.following import Follower
from parfocal_demo.report import write_report
from parfocal_demo.report.findings import Findings
from parfocal_demo.report.wording import TITLES, duration, number
from parfocal_demo.settings import Folder, Settings
from parfocal_demo.summary import summarise
from parfocal_runtime.quota import cpu_threads
from parfocal_runtime.store import open_store
from parfocal_standalone import Standalone

_RESUMED = (
    "The campaign was interrupted and taken up again. The total above is that of the last run; the "
    "times of single stages include pauses."
)
_SPLIT = re.compile(r"(?:x:)?(0?\.\d+),(0?\.\d+)")


def run(
    *,
    out: Path,
    images: str | Path | None = None,
    truth: str | Path | None = None,
    split: str | None = None,
    rounds: int = 2,
    budget: int = 40,
    seed: int = 0,
    voxel_size_nm: tuple[float, float, float] | None = None,
    level: int | None = None,
) -> Path:
    """Run the demonstration in the folder `out`, or go on with the one there.

    Args:
        out: Folder of the report; the services keep their data in `out/data`.
        images: Image in any format that is imported; None generates a volume.
        truth: Its ground truth: nonzero, or instance numbers.
        split: `x:A,B`: columns below share A of the width train, those from B on score.
        rounds: Rounds of each arm.
        budget: Answers per round and arm.
        seed: Seed of everything random.
        voxel_size_nm: Physical size of a voxel, zyx, where the file does not say.
        level: Resolution level to work on; None takes the finest with sides of at most 768.

    Returns:
        The path of the report.

    Raises:
        ParfocalError: If the parameters do not fit, the folder holds another campaign, or a step
            was given up.
    """
    try:
        settings = Settings(
            images=None if images is None else Path(images),
            truth=None if truth is None else Path(truth),
            split=(0.6, 0.7) if split is None else parse_split(split),
            rounds=rounds,
            budget=budget,
            seed=seed,
            voxel_size_nm=voxel_size_nm,
            level=level,
        )
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error
    return run_settings(settings, out=out)


def run_settings(settings: Settings, *, out: Path, console: Console | None = None) -> Path:
    """Run a campaign in the folder `out`, or go on with the one there, and return its report."""
    console = console or Console()
    began = time.monotonic()
    folder = Folder(out)
    resumed = folder.claim(settings)
    with (
        Standalone(folder.data, settings=_two_trainings()) as server,
        Client(server.address, token=server.token) as client,
        Client(server.address, token=server.add_caller("oracle")) as annotator,
    ):
        store = open_store(server.store_uri)
        follower = Follower(client, PROJECT, console)
        campaign = run_campaign(
            settings,
            client=client,
            annotator=annotator,
            store=store,
            folder=out / "volume",
            follower=follower,
        )
        with follower.local("Write the report"):
            findings, pictures = summarise(
                campaign,
                client=client,
                store=store,
                follower=follower,
                total_seconds=time.monotonic() - began,
                out=str(out),
            )
            if resumed:
                findings = replace(findings, notes=(*findings.notes, _RESUMED))
            page = write_report(findings, pictures, out)
    console.print(summary_table(findings))
    console.print(f"Report: {page}", soft_wrap=True)
    return page


def _two_trainings() -> dict[str, str]:
    """Return settings under which both arms train at once, each with half of the cores.

    Two trainings with half of the threads do more steps than one after the other with all.
    """
    return {
        "PARFOCAL_TRAINING_WORKERS": "2",
        "PARFOCAL_TRAINING_THREADS": str(max(1, cpu_threads() // 2)),
    }


def parse_split(text: str) -> tuple[float, float]:
    """Return the two shares of `x:0.6,0.7`; the axis may be left out.

    Raises:
        ValueError: If it is something else.
    """
    match = _SPLIT.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"split: expected x:A,B with two shares such as x:0.6,0.7, got {text!r}")
    return float(match[1]), float(match[2])


def summary_table(findings: Findings) -> Table:
    """Return the headline numbers as a table for a terminal."""
    table = Table(
        title=f"{findings.pool.candidates} candidates, "
        f"{number(findings.pool.correct_share.value)} right before any answer; "
        f"{duration(findings.total_seconds)} in all"
    )
    for heading in ("arm", "round", "answers", "average precision", "ROC AUC", "profiles covered"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm in findings.arms:
        for turn in arm.rounds if arm.name == "two-stream" else arm.rounds[1:]:
            table.add_row(
                TITLES[arm.name] if turn.round else "Base model",
                str(turn.round),
                str(turn.labels_total),
                number(turn.scores.average_precision.value),
                number(turn.scores.roc_auc.value),
                number(turn.scores.coverage.value),
            )
    return table
