"""Jobs that predict an image through replicas of a real inference service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from onnx_graphs import base_model, base_model_card
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.common.v1 import geometry_pb2 as geometry
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_loop.actions import Means
from parfocal_loop.bulk import Bulk
from parfocal_loop.jobs import Task, run_job
from parfocal_loop.peers import Address, Addresses, Peers
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.errors import WrongState
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import LocalStore

IMAGE = "projects/p/images/i.ome.zarr/0"
SHAPE = (32, 128, 512)
# Two sections of 16 along z, four columns of 128: chunks of the image and of the map.
BLOCK = geometry.Index3(z=16, y=128, x=128)
SUCCEEDED = artifacts.WORK_STATE_SUCCEEDED


@dataclass
class Lab:
    """A store with an image and a model, and a way to predict through replicas."""

    store: LocalStore
    bulk: Bulk

    def predict(
        self, address: Address, name: str, *, status: jobs.JobStatus | None = None, **wanted: object
    ) -> jobs.JobStatus:
        """Run a job that makes the map `name` and return its status."""
        status = jobs.JobStatus() if status is None else status
        fields = {"block_shape": BLOCK, "overlap": 0.0, **wanted}
        segment = jobs.SegmentJob(
            image=IMAGE,
            prediction=self.path(name),
            model=artifacts.ModelVersion(name="grey", version=1),
            **fields,  # type: ignore[arg-type]
        )

        async def run() -> None:
            peers = Peers(Addresses(address, address, address, address, address))
            task = Task(jobs.Job(segment=segment), status, Means(self.store, peers, self.bulk))
            try:
                await run_job(task, saved_nowhere)
            finally:
                await peers.close()

        asyncio.run(run())
        return status

    def map(self, name: str) -> npt.NDArray[np.uint8]:
        """Return a map."""
        return np.asarray(open_array(self.store, self.path(name)).read().result(), np.uint8)

    def record(self, name: str) -> dict[str, int]:
        """Return when each finished block of a map was put on record."""
        folder = Path(self.store.root.removeprefix("file://")) / f"{self.path(name)}.blocks"
        return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.json")}

    @staticmethod
    def path(name: str) -> str:
        """Return where a map lies."""
        return f"projects/p/predictions/{name}"


async def saved_nowhere() -> None:
    """Store a status nowhere."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    store = LocalStore(tmp_path / "store")
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    array = create_array(store, IMAGE, shape=SHAPE, dtype=np.uint8, chunks=(16, 128, 128))
    array.write(image).result()
    window = (16, 64, 64)
    card = base_model_card(window)
    ModelRepository(store).publish("grey", base_model(window), card=card, lineage={})
    bulk = Bulk(scheduler="", threads=4)
    yield Lab(store, bulk)
    bulk.close()


@contextmanager
def replicas(store: LocalStore, count: int) -> Iterator[Address]:
    """Serve with that many replicas under one address."""
    with ExitStack() as stack:
        addresses = []
        for _ in range(count):
            config = InferenceConfig(port=0, anonymous_role="curator", session_threads=1)
            server = stack.enter_context(serving_in_thread([build(config, store)], config))
            addresses.append(server.address)
        yield Address(f"ipv4:{','.join(addresses)}", token="")


@contextmanager
def processes(
    store: LocalStore, count: int
) -> Iterator[tuple[Address, list[subprocess.Popen[str]]]]:
    """Serve with that many processes under one address."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PARFOCAL_INFERENCE_PORT": "0",
        "PARFOCAL_INFERENCE_METRICS_PORT": "0",
        "PARFOCAL_INFERENCE_SESSION_THREADS": "1",
        "PARFOCAL_STORE_URI": store.root,
        "PARFOCAL_ANONYMOUS_ROLE": "curator",
    }
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "parfocal_inference"],
                    env=environment,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            started.append(process)
        addresses = [listening(process) for process in started]
        yield Address(f"ipv4:{','.join(addresses)}", token=""), started


def listening(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = next(line for line in process.stderr if '"listening"' in line)
    return str(json.loads(line)["address"])


def test_four_replicas_make_the_map_that_one_makes(lab: Lab) -> None:
    with replicas(lab.store, 1) as address:
        lab.predict(address, "one", overlap=0.5, augmentation=4)
    with replicas(lab.store, 4) as address:
        larger = geometry.Index3(z=32, y=128, x=256)
        lab.predict(address, "four", overlap=0.5, augmentation=4, block_shape=larger)

    assert np.array_equal(lab.map("one"), lab.map("four"))
    assert (len(lab.record("one")), len(lab.record("four"))) == (8, 2)


def test_a_replica_that_is_killed_changes_nothing(lab: Lab) -> None:
    with replicas(lab.store, 1) as address:
        lab.predict(address, "whole", overlap=0.5, augmentation=16)
    with processes(lab.store, 2) as (address, (victim, _)), ThreadPoolExecutor(1) as pool:
        job = pool.submit(lab.predict, address, "killed", overlap=0.5, augmentation=16)
        while not lab.record("killed") and not job.done():
            time.sleep(0.01)
        victim.kill()
        status = job.result()

    assert victim.wait() == -signal.SIGKILL
    assert status.state == SUCCEEDED
    assert not status.quarantine
    assert np.array_equal(lab.map("whole"), lab.map("killed"))


def test_a_damaged_chunk_is_set_aside_and_made_when_it_is_whole_again(lab: Lab) -> None:
    chunk = Path(lab.store.root.removeprefix("file://")) / IMAGE / "c/1/0/2"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"damaged")
    status = jobs.JobStatus()
    with replicas(lab.store, 1) as address:
        with pytest.raises(WrongState) as caught:
            lab.predict(address, "map", status=status)
        before = lab.record("map")
        chunk.write_bytes(whole)
        retried = lab.predict(address, "map")
        lab.predict(address, "never-damaged")

    assert caught.value.reason == "ERROR_REASON_BLOCKS_QUARANTINED"
    (aside,) = status.quarantine
    assert aside.box.start == geometry.Index3(z=16, y=0, x=256)
    assert aside.failure.reason == "ERROR_REASON_INVALID_ARTIFACT"
    assert len(before) == 7
    # What was made before was found and not made again.
    assert before.items() <= lab.record("map").items()
    assert (retried.state, retried.message) == (SUCCEEDED, "8 of 8 blocks")
    assert np.array_equal(lab.map("map"), lab.map("never-damaged"))


def test_a_job_can_succeed_without_a_block_that_it_set_aside(lab: Lab) -> None:
    (Path(lab.store.root.removeprefix("file://")) / IMAGE / "c/0/0/0").write_bytes(b"damaged")
    with replicas(lab.store, 1) as address:
        status = lab.predict(address, "map", tolerated_blocks=1)

    assert status.state == SUCCEEDED
    assert [block.box.start for block in status.quarantine] == [geometry.Index3()]
