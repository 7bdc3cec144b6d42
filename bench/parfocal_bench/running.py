"""One campaign from its name to its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from parfocal import InvalidRequestError
from parfocal_bench.campaigns import CAMPAIGNS, on_device
from parfocal_bench.cells import Finished
from parfocal_bench.engine import run_cells
from parfocal_bench.findings import Findings, findings_of, warnings_of
from parfocal_bench.packs import FOLDERS, LeakingPack
from parfocal_bench.protocol import RANDOM, Protocol
from parfocal_bench.report import write_report

Progress = Callable[[int, int, str], None]
"""Called with the cells that are done, those in all, and a line on what has just finished."""


def run(
    campaign: str,
    *,
    packs: Path,
    out: Path,
    arms: Sequence[str] = (),
    seeds: int = 5,
    workers: int = 1,
    device: str = "cpu",
    progress: Progress,
) -> tuple[Findings, Path]:
    """Run a campaign of the catalogue, or go on with it, and write its report.

    Args:
        campaign: Its name.
        packs: Folder of the data packs.
        out: Folder for all runs; the campaign has one of its own inside.
        arms: Arms to run beside random; all where none is named.
        seeds: Seeds, from 0.
        workers: Processes, of one thread each; 0 runs everything in this one.
        device: Where torch works, such as `cpu` or `cuda`; only campaigns of networks ask.
        progress: Hears of every cell.

    Returns:
        What was found, and the path of the page.

    Raises:
        InvalidRequestError: If there is no such campaign, arm, pack or device, or a group of the
            pack is in training and in test.
    """
    if campaign not in CAMPAIGNS:
        raise InvalidRequestError(
            f"no campaign {campaign!r}; there are {', '.join(sorted(CAMPAIGNS))}"
        )
    protocol = on_device(CAMPAIGNS[campaign](packs), device)
    try:
        return run_protocol(
            protocol, out=out, arms=arms, seeds=seeds, workers=workers, progress=progress
        )
    except FileNotFoundError as error:
        raise InvalidRequestError(
            f"{error.filename} is not there; the folder of the data packs holds "
            f"{', '.join(sorted(FOLDERS.values()))}"
        ) from error
    except LeakingPack as error:
        raise InvalidRequestError(f"the data pack cannot be used: {error}") from error


def run_protocol(
    protocol: Protocol,
    *,
    out: Path,
    arms: Sequence[str] = (),
    seeds: int = 5,
    workers: int = 1,
    progress: Progress,
) -> tuple[Findings, Path]:
    """Run any protocol, as `run` does a campaign of the catalogue."""
    known = list(protocol.arms())
    unknown = [arm for arm in arms if arm not in known]
    if unknown:
        raise InvalidRequestError(f"no arm {unknown[0]!r}; there are {', '.join(known)}")
    wanted = [arm for arm in known if not arms or arm in arms or arm == RANDOM]
    folder = out / protocol.name

    def tell(done: int, total: int, found: Finished | None) -> None:
        progress(done, total, _line(protocol, found) if found else "")

    finished = run_cells(
        protocol, arms=wanted, seeds=range(seeds), folder=folder, workers=workers, tell=tell
    )
    findings = findings_of(protocol, finished)
    return findings, write_report(findings, finished, folder)


def _line(protocol: Protocol, found: Finished) -> str:
    last = found.rows[-1]
    value = last.values[protocol.metric]
    doubts = "".join(f"\n  {text}" for text in warnings_of([found]))
    return (
        f"{found.cell.arm}, seed {found.cell.seed}: {protocol.metric} {value:.3f} at "
        f"{last.labels} labels, {found.seconds:.0f} s{doubts}"
    )
