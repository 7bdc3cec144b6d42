"""The memory of the service while labels come in. `make proofs` sends two hundred thousand."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from label_crowd import (
    VNC,
    Annotator,
    Tokens,
    add_queries,
    connected,
    create_project,
    curator,
    progress,
)
from label_processes import LabelsProcess, labels_process
from parfocal.labels.v1 import labels_service_pb2 as pb
from proofs import ALL, amount, long_running

LABELS = amount(20_000, all=200_000)
WARM_UP = amount(5_000, all=20_000)
MEBIBYTE = 2**20
MOST_GROWTH = amount(8, all=50) * MEBIBYTE
ANNOTATORS = 32
AT_ONCE = 20


async def soak(running: LabelsProcess, tokens: Tokens) -> list[int]:
    """Memory once warm and then after every thousand labels, while somebody watches."""
    crowd = [Annotator(name, None) for name in tokens.annotators]
    memory: list[int] = []
    labels = 0

    async def work(annotator: Annotator) -> None:
        nonlocal labels
        while labels < WARM_UP + LABELS:
            leased = await annotator.lease(AT_ONCE)
            answered = await annotator.answer([each.query.name for each in leased])
            labels += len(answered)
            annotator.acknowledged.clear()
            if labels >= WARM_UP + 1000 * len(memory):
                memory.append(running.resident_bytes())

    async with (
        curator(running.address, tokens) as stub,
        connected(crowd, [running.address], tokens),
    ):
        await create_project(stub)
        await add_queries(stub, WARM_UP + LABELS + 2 * ANNOTATORS * AT_ONCE)
        watching = asyncio.create_task(watch(stub))
        await asyncio.gather(*map(work, crowd))
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        assert (await progress(stub)).labels == labels
    return memory


async def watch(stub: Any) -> None:
    async for _ in stub.WatchLabels(pb.WatchLabelsRequest(parent=VNC)):
        pass


@long_running
@pytest.mark.parametrize(
    "engine",
    ["sqlite", *([pytest.param("postgresql", marks=pytest.mark.postgres)] if ALL else [])],
)
def test_the_memory_of_the_service_stays_flat(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    dsn = f"sqlite:///{tmp_path / 'labels.db'}"
    if engine == "postgresql":
        dsn = request.getfixturevalue("postgres_database")
    tokens = Tokens.written(tmp_path, annotators=ANNOTATORS)
    start = time.monotonic()

    with labels_process(dsn, tmp_path, tokens.file) as running:
        memory = asyncio.run(soak(running, tokens))

    growth = max(memory) - memory[0]
    print(
        f"{engine}: {LABELS} labels in {time.monotonic() - start:.0f} s, warm"
        f" {memory[0] / MEBIBYTE:.1f} MiB, then {min(memory) / MEBIBYTE:.1f} to"
        f" {max(memory) / MEBIBYTE:.1f} MiB, {memory[-1] / MEBIBYTE:.1f} MiB at the end"
    )
    assert len(memory) >= LABELS // 1000
    assert growth <= MOST_GROWTH
