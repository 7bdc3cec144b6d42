"""Runs the cells of a campaign that have no result yet, in processes of one thread each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster, as_completed

from parfocal_bench.cells import Cell, Finished, cells_of, read_cell, write_cell
from parfocal_bench.protocol import Protocol

Tell = Callable[[int, int, Finished | None], None]
"""Called with the cells that are done, those in all, and the one that has just finished."""

_ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_MAX_THREADS",
    )
}


def run_cells(
    protocol: Protocol,
    *,
    arms: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    workers: int,
    tell: Tell,
) -> list[Finished]:
    """Return the result of every cell, running those that have none.

    Each cell is written by the process that ran it, as soon as it is done: whatever is killed, the
    next call goes on with what is missing.

    Args:
        protocol: What to run.
        arms: Names of arms.
        seeds: Seeds.
        folder: Where results (`cells`) and what they share (`cache`) lie.
        workers: Processes; 0 runs everything in this one.
        tell: Hears of progress.

    Raises:
        Exception: What the first failing cell raised; those that run beside it are stopped.
    """
    results, cache = folder / "cells", folder / "cache"
    cells = cells_of(protocol, arms, seeds)
    finished = {cell.key: found for cell in cells if (found := read_cell(results, cell))}
    missing = [cell for cell in cells if cell.key not in finished]
    tell(len(finished), len(cells), None)
    if missing:
        protocol.prepare(cache)
        for found in _run(protocol, missing, results, cache, workers):
            finished[found.cell.key] = found
            tell(len(finished), len(cells), found)
    return [finished[cell.key] for cell in cells]


def run_cell(protocol: Protocol, cell: Cell, results: Path, cache: Path) -> Finished:
    """Run one cell and write its result."""
    began = time.perf_counter()
    rows = protocol.run(cell.arm, cell.seed, cache)
    finished = Finished(cell, rows, time.perf_counter() - began)
    write_cell(results, finished)
    return finished


def _run(
    protocol: Protocol, cells: Sequence[Cell], results: Path, cache: Path, workers: int
) -> Iterator[Finished]:
    if not workers:
        for cell in cells:
            yield run_cell(protocol, cell, results, cache)
        return
    with _processes(min(workers, len(cells))) as client:
        futures = [
            client.submit(
                run_cell, protocol, cell, results, cache, pure=False, retries=0, priority=-place
            )
            for place, cell in enumerate(cells)
        ]
        for future in as_completed(futures, loop=client.loop):
            yield future.result()


@contextmanager
def _processes(workers: int) -> Iterator[Client]:
    """Start worker processes; leaving ends them, whatever they are at."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # read by the libraries of the workers when they are loaded
    try:
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                host="127.0.0.1",
                # Without an address it would listen to the world, on a fixed port.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
