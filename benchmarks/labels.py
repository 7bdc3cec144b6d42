"""Handing out queries and taking answers: this store beside the bare drivers.

    python benchmarks/labels.py [--quick] [--json FILE] [--engines sqlite postgresql] [--cores 1]

Every client in turn leases 20 queries and answers them. `ours` is the label store as the service
calls it, `ours over gRPC` the service as a process of its own; the peers run the same work as one
statement a call through asyncpg, as SQLAlchemy Core a call, and on SQLite as one commit a call in
one writer thread; `ours, a commit a call` is the store with nothing gathered. PostgreSQL 15 runs
with fsync on, SQLite with synchronous=FULL. All but the service run in one process with one event
loop; the figures are the median of several runs. With --cores 1 clients, store and database share
a core.
PostgreSQL is started from /usr/lib/postgresql/15, or named with --postgres. A queue must have
10,000 queries at least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import labels_peers as peers
import labels_queue as queue
from labels_grpc import OverGrpc
from table import row, show

from parfocal_labels.answers import TRUE
from parfocal_labels.lanes import Lanes, Most
from parfocal_labels.records import Vote
from parfocal_labels.store import LabelStore, system_clock
from parfocal_runtime.database import Database
from parfocal_runtime.garbage import look_less_often
from parfocal_runtime.store import open_store

ROOT = Path(__file__).resolve().parent.parent
COUNT = 20
CLIENTS = (1, 8, 64)
GOALS = {
    # engine, peer, clients -> least ratio of labels per second
    ("postgresql", "asyncpg", 8): 2.0,
    ("postgresql", "asyncpg", 64): 2.0,
    ("postgresql", "core", 8): 4.0,
    ("postgresql", "core", 64): 4.0,
    ("sqlite", "single-commits", 64): 1.5,
}
LEASE_P99_MS = ("postgresql", 64, 40.0)
SQLITE_P99_MS = (64, 100.0)
LONG_QUEUE = 1.5


@dataclass
class Run:
    """What one run of one contender gave."""

    labels: int = 0
    seconds: float = 0.0
    leases: list[float] = field(default_factory=list)
    submits: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.labels / self.seconds

    def percentile(self, name: str, share: float) -> float:
        times: list[float] = sorted(getattr(self, name))
        return 1000 * times[min(len(times) - 1, math.ceil(share * len(times)) - 1)]


class Ours:
    """The label store, called as its gRPC methods call it."""

    def __init__(self, dsn: str, folder: str, *, together: bool = True) -> None:
        self._database = Database(dsn)
        self._store = LabelStore(self._database, open_store(f"file://{folder}"))
        if not together:
            self._store._lanes = Lanes(
                self._database.transactions,
                clock=system_clock,
                written=lambda project: None,
                most=Most(queries=1, answers=1),
            )

    async def lease(self, annotator: str) -> list[int]:
        leases = await self._store.lease_queries(
            queue.PROJECT, annotator, count=COUNT, ttl=peers.TTL
        )
        return [lease.query.id for lease in leases]

    async def submit(self, annotator: str, queries: Sequence[int], request_id: str) -> None:
        votes = [Vote(query, TRUE, 1.5) for query in queries]
        await self._store.submit_labels(
            queue.PROJECT, annotator, votes, request_id=request_id, client="benchmark/1"
        )

    async def close(self) -> None:
        await self._database.close()


async def measure(contender: Any, *, clients: int, labels: int, seconds: float) -> Run:
    """Let `clients` lease and answer until `labels` are in or the time is up.

    What each of them does first counts as labels but not as a wait: all begin in the same
    millisecond, which people never do.
    """
    run, number = Run(), time.time_ns()
    start = time.perf_counter()
    end = start + seconds

    async def annotate(name: str) -> None:
        nonlocal number
        rounds = 0
        while rounds < 2 or (run.labels < labels and time.perf_counter() < end):
            before = time.perf_counter()
            queries = await contender.lease(name)
            between = time.perf_counter()
            if not queries:
                raise RuntimeError("the queue is empty")
            number += 1
            await contender.submit(name, queries, str(number))
            after = time.perf_counter()
            run.labels += len(queries)
            rounds += 1
            if rounds > 1:
                run.leases.append(between - before)
                run.submits.append(after - between)

    await asyncio.gather(*(annotate(f"annotator-{n}") for n in range(clients)))
    run.seconds = time.perf_counter() - start
    return run


def median(runs: Sequence[Run]) -> Run:
    """Return the run with the median rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


@contextmanager
def postgres(dsn: str) -> Iterator[str]:
    """Yield the address of a server: the one that is named, or one that is started."""
    if dsn:
        yield dsn
        return
    command = [sys.executable, str(ROOT / "tests/components/postgres.py"), "shared_buffers=1GB"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def contenders(engine: str, dsn: str, folder: str) -> dict[str, Callable[[], Any]]:
    """Return what is measured on an engine, by name."""
    if engine == "postgresql":
        return {
            "ours": lambda: Ours(dsn, folder),
            "ours over gRPC": lambda: OverGrpc(dsn, folder),
            "ours, a commit a call": lambda: Ours(dsn, folder, together=False),
            "asyncpg": lambda: peers.Asyncpg(dsn),
            "core": lambda: peers.Core(dsn),
        }
    return {
        "ours": lambda: Ours(dsn, folder),
        "ours over gRPC": lambda: OverGrpc(dsn, folder),
        "ours, a commit a call": lambda: Ours(dsn, folder, together=False),
        "single-commits": lambda: peers.SingleCommits(dsn),
        "core": lambda: peers.Core(dsn),
    }


async def series(
    engine: str, dsn: str, *, size: int, folder: str, repeats: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure every contender at every number of clients on a queue of `size`."""
    await queue.fill(dsn, size)
    found: dict[tuple[str, int], Run] = {}
    for clients in CLIENTS:
        runs: dict[str, list[Run]] = {}
        # In turns, so that what slows this machine for a while slows all of them.
        for _ in range(repeats):
            for name, make in contenders(engine, dsn, folder).items():
                contender = make()
                await measure(contender, clients=1, labels=COUNT, seconds=60)
                run = await measure(
                    contender, clients=clients, labels=int(0.6 * size), seconds=seconds
                )
                runs.setdefault(name, []).append(run)
                await contender.close()
                await queue.restore(dsn)
        for name, measured in runs.items():
            found[name, clients] = median(measured)
    return rows(engine, size, found)


def rows(engine: str, size: int, found: dict[tuple[str, int], Run]) -> list[dict[str, Any]]:
    """Return the figures as rows of the table."""
    table = []
    for (name, clients), run in found.items():
        base = f"{engine} {size:.0e} {clients} clients {name}".replace("e+0", "e")
        table.append(row(f"{base} labels/s", run.rate, "1/s"))
        for what, times in (("lease", "leases"), ("submit", "submits")):
            for share in (0.5, 0.99):
                goal = None
                if name == "ours" and share == 0.99:
                    goal = latency_goal(engine, clients, what)
                table.append(
                    row(
                        f"{base} {what} p{100 * share:.0f}",
                        run.percentile(times, share),
                        "ms",
                        most=goal,
                    )
                )
        if name not in ("ours", "ours over gRPC"):
            ratio = found["ours", clients].rate / run.rate
            table.append(
                row(
                    f"{engine} {size:.0e} {clients} clients ours / {name}".replace("e+0", "e"),
                    ratio,
                    "x",
                    least=GOALS.get((engine, name, clients)),
                )
            )
    return table


def latency_goal(engine: str, clients: int, what: str) -> float | None:
    """Return the most milliseconds that 99 of 100 calls may take, None for no goal."""
    if (engine, clients) == LEASE_P99_MS[:2] and what == "lease":
        return LEASE_P99_MS[2]
    if engine == "sqlite" and clients == SQLITE_P99_MS[0]:
        return SQLITE_P99_MS[1]
    return None


def long_queue(table: Sequence[dict[str, Any]], engine: str, sizes: Sequence[int]) -> list[Any]:
    """Return how much slower the longest queue is than the shortest."""
    rates = {each["name"]: each["value"] for each in table}
    short, long = (f"{size:.0e}".replace("e+0", "e") for size in (sizes[0], sizes[-1]))
    return [
        row(
            f"{engine} {clients} clients ours, {short} / {long} queue",
            rates[f"{engine} {short} {clients} clients ours labels/s"]
            / rates[f"{engine} {long} {clients} clients ours labels/s"],
            "x",
            most=LONG_QUEUE,
        )
        for clients in CLIENTS
    ]


async def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter queues, under five minutes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--engines", nargs="+", default=["postgresql", "sqlite"])
    parser.add_argument("--sizes", nargs="+", type=float, help="lengths of the queue")
    parser.add_argument("--postgres", default="", help="address of a database for this alone")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each contender")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a run lasts at most")
    parser.add_argument("--cores", type=int, default=0, help="as many for all together; 0 for all")
    options = parser.parse_args()
    if options.cores:
        # Servers that are started from here inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    # As in a serving process, and for every contender alike.
    look_less_often()
    sizes = [
        int(size) for size in options.sizes or ((1e4, 1e6) if options.quick else (1e4, 1e6, 1e7))
    ]
    repeats = options.repeats or (3 if options.quick else 5)
    table: list[dict[str, Any]] = []
    for engine in options.engines:
        for size in sizes:
            async with database(engine, options.postgres) as (dsn, folder):
                table += await series(
                    engine,
                    dsn,
                    size=size,
                    folder=folder,
                    repeats=repeats,
                    seconds=options.seconds or (1.0 if options.quick else 2.0),
                )
        if len(sizes) > 1:
            table += long_queue(table, engine, sizes)
    show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


@asynccontextmanager
async def database(engine: str, named: str) -> AsyncIterator[tuple[str, str]]:
    """Yield the address of an empty database and a folder."""
    with tempfile.TemporaryDirectory(prefix="parfocal-benchmark-") as folder:
        if engine == "sqlite":
            yield f"sqlite:///{folder}/labels.db", folder
        else:
            with postgres(named) as dsn:
                yield dsn, folder


if __name__ == "__main__":
    asyncio.run(main())
