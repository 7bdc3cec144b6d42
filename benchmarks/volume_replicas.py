"""Whether a map is the same whoever makes it: many replicas, one that is killed, other blocks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from table import row
from volume_lab import Image, Replica, picture, publish, replica, request, smoothing, write_image

from parfocal_loop.block_runs import Quarantine, run_blocks
from parfocal_loop.bulk import Bulk
from parfocal_loop.peers import Address
from parfocal_loop.progress import Progress
from parfocal_runtime.arrays import open_array
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tasks import CancelFlag

SHAPE: Triple = (48, 512, 512)
IMAGE = "projects/b/images/same/0"


def sameness(folder: Path) -> list[dict[str, Any]]:
    """Return whether maps that were made in several ways are equal to the last bit."""
    store = open_store((folder / "same").as_uri())
    write_image(store, IMAGE, picture(SHAPE))
    publish(store, "smoothing", smoothing())
    table = []
    with ExitStack() as stack:
        bulk = Bulk(scheduler="", threads=8)
        stack.callback(bulk.close)
        with _replicas(store, folder, 1) as (one,):
            expected = _map(store, bulk, [one], "one", SHAPE)
        with _replicas(store, folder, 4) as four:
            for side in (64, 128, 256, 512):
                found = _map(store, bulk, four, f"side-{side}", (min(side, 48), side, side))
                name = f"equal maps, 1 and 4 replicas, blocks of {side}"
                table.append(row(name, np.array_equal(found, expected), "", least=1))
            found = _map(store, bulk, four, "killed", (16, 128, 128), kill=four[0])
            name = "equal maps, one of 4 replicas killed"
            table.append(row(name, np.array_equal(found, expected), "", least=1))
    return table


def _map(
    store: ObjectStore,
    bulk: Bulk,
    replicas: list[Replica],
    name: str,
    block: Triple,
    *,
    kill: Replica | None = None,
) -> Image:
    path = f"projects/b/predictions/{name}"
    boxes = Box.whole(SHAPE).blocks(block)
    quarantine, killed = Quarantine(), threading.Event()

    def report(progress: Progress) -> None:
        if kill is not None and 0 < progress.fraction < 1 and not killed.is_set():
            killed.set()
            kill.kill()

    run_blocks(
        bulk,
        Address(f"ipv4:{','.join(each.address for each in replicas)}", token=replicas[0].token),
        [request(IMAGE, path, box, model="smoothing") for box in boxes],
        quarantine=quarantine,
        report=report,
        cancel=CancelFlag(),
    )
    if kill is not None and not killed.is_set():
        raise RuntimeError("no replica was killed")
    return np.asarray(open_array(store, path).read().result(), np.uint8)


@contextmanager
def _replicas(store: ObjectStore, folder: Path, count: int) -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        yield [stack.enter_context(replica(store, folder)) for _ in range(count)]
