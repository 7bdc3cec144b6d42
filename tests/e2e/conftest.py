"""Deployments to run the whole loop on: services as processes, a small image with its truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import IO

import numpy as np
import pytest
import tifffile

from parfocal import Client, import_image, round_spec
from parfocal.common.v1.artifact_pb2 import WORK_STATE_SUCCEEDED, ModelVersion
from parfocal.common.v1.geometry_pb2 import Box, Index3, VoxelSize
from parfocal.inference.v1.inference_service_pb2 import CandidateSource, ProposeCandidatesRequest
from parfocal.labels.v1.label_pb2 import Label
from parfocal.loop.v1.job_pb2 import Job, SegmentJob
from parfocal.loop.v1.round_pb2 import Round, RoundSpec, RoundTraining
from parfocal.training.v1.training_service_pb2 import (
    VAE_STREAM_IMAGE,
    VAE_STREAM_MASK,
    LabelledRegion,
    TrainBase,
    TrainingLimits,
    TrainRequest,
    TrainVae,
    UnetArchitecture,
)
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.store import S3Settings

SERVICES = ("labels", "inference", "embedding", "suggestion", "training", "loop")
# Whatever a service needs, it has not started in vain after this long.
START_SECONDS = 120


@dataclass
class Process:
    """One service in a process of its own."""

    service: str
    environment: Mapping[str, str]
    process: subprocess.Popen[str] = field(init=False)
    address: str = ""

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"parfocal_{self.service}"],
            env={**os.environ, **self.environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        heard: Queue[str] = Queue()
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()
        self.address = heard.get(timeout=START_SECONDS)
        assert self.address, f"{self.service} ended before it listened"

    def _listen(self, heard: Queue[str]) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self._hear(stderr, heard)
        heard.put("")

    def _hear(self, stderr: IO[str], heard: Queue[str]) -> None:
        for line in stderr:
            if '"listening"' in line:
                heard.put(json.loads(line)["address"])
            elif '"error"' in line or not line.startswith("{"):
                # Shown by pytest where a test fails.
                print(f"{self.service}: {line}", end="", file=sys.stderr)

    def end(self) -> None:
        """Ask it to end, if it has not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


@dataclass
class Deployment:
    """Every service as a process, over TCP."""

    store: str
    token: str
    processes: dict[str, Process]

    def address(self, service: str) -> str:
        """Return where a service listens."""
        return self.processes[service].address


@contextmanager
def deployed(
    folder: Path, *, store: str, environment: Mapping[str, str], databases: Mapping[str, str]
) -> Iterator[Deployment]:
    """Start every service as a process of its own and stop them all at the end."""
    tokens = folder / "tokens"
    token = write_token(tokens, name="curator", role=Role.ADMIN)
    token_file = folder / "loop-token"
    token_file.write_text(token)
    common = {
        "PARFOCAL_PORT": "0",
        "PARFOCAL_STORE_URI": store,
        "PARFOCAL_TOKENS_FILE": str(tokens),
        "PARFOCAL_LABELS_DATABASE": databases["labels"],
        "PARFOCAL_LOOP_DATABASE": databases["loop"],
        "PARFOCAL_LOOP_TOKEN_FILE": str(token_file),
        "PARFOCAL_LOOP_POLL_SECONDS": "0.1",
        "PARFOCAL_LOOP_CLAIM_SECONDS": "2",
        "PARFOCAL_TRAINING_CHECKPOINT_SECONDS": "1",
        "PARFOCAL_GRACE_SECONDS": "5",
        **environment,
    }
    with ExitStack() as stack:
        deployment = Deployment(store, token, {})
        for service in SERVICES:
            peers = {
                f"PARFOCAL_LOOP_{name.upper()}": process.address
                for name, process in deployment.processes.items()
            }
            process = Process(service, {**common, **(peers if service == "loop" else {})})
            deployment.processes[service] = process
            process.start()
            stack.callback(process.end)
        yield deployment


def disc(shape: tuple[int, int], center: tuple[int, int], radius: int) -> np.ndarray:
    """Return a filled circle."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside: np.ndarray = (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2
    return inside


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bright discs, half of them true, on noise: files of an image and its truth, 4x128x192."""
    folder = tmp_path_factory.mktemp("image")
    random = np.random.default_rng(7)
    image = random.normal(70, 12, (4, 128, 192))
    truth = np.zeros(image.shape, np.uint8)
    for z in range(4):
        for row in range(4):
            for column in range(6):
                center = (16 + 32 * row, 16 + 32 * column)
                here = disc((128, 192), center, 6 + (row + column) % 3)
                image[z][here] += 110
                truth[z][here] = 255 * ((row + column + z) % 2)
    paths = folder / "image.tif", folder / "truth.tif"
    tifffile.imwrite(paths[0], np.clip(image, 0, 255).astype(np.uint8), photometric="minisblack")
    tifffile.imwrite(paths[1], truth, photometric="minisblack")
    return paths


class Campaign:
    """What a user does with a deployment, on the small image."""

    project = "discs"

    def __init__(self, addresses: Mapping[str, str], *, token: str, store: str) -> None:
        self.store = store
        self.labels = Client(addresses["labels"], token=token)
        self.loop = Client(addresses["loop"], token=token)
        self.image = "projects/discs/images/small.ome.zarr/0"
        self.truth = "projects/discs/images/small.ome.zarr/labels/truth/0"

    def close(self) -> None:
        """Close the connections."""
        self.labels.close()
        self.loop.close()

    def prepare(self, files: tuple[Path, Path]) -> None:
        """Import the image, train a base model and both encoders: all but the round."""
        self.labels.projects.create(self.project)
        import_image(
            files[0],
            truth=files[1],
            project=self.project,
            image="small",
            store=self.store,
            voxel_size_nm=(50, 10, 10),
        )
        self.job("base", Job(train=self.base_training()))
        self.job("image-encoder", Job(train=self.vae("image")))
        prediction = "projects/discs/predictions/small/base-1.ome.zarr/0"
        model = ModelVersion(name="base", version=1)
        segment = SegmentJob(image=self.image, prediction=prediction, model=model)
        self.job("segment", Job(segment=segment))
        propose = ProposeCandidatesRequest(
            candidates="projects/discs/candidates/first",
            sources=[CandidateSource(image=self.image, prediction=prediction)],
            patch_side=32,
        )
        self.job("propose", Job(propose=propose))
        self.job("mask-encoder", Job(train=self.vae("mask")))

    def base_training(self) -> TrainRequest:
        """Return a training that a test can wait for."""
        region = LabelledRegion(
            image=self.image,
            truth=self.truth,
            box=Box(start=Index3(z=0, y=0, x=0), stop=Index3(z=4, y=128, x=64)),
        )
        task = TrainBase(
            regions=[region],
            architecture=UnetArchitecture(
                widths=[4, 8], isotropic=[False, True], window=Index3(z=4, y=48, x=48)
            ),
            voxel_size=VoxelSize(z=50, y=10, x=10),
        )
        limits = TrainingLimits(iterations=40)
        return TrainRequest(run="base", model="base", train_base=task, seed=1, limits=limits)

    def vae(self, stream: str) -> TrainRequest:
        """Return the training of a small encoder."""
        task = TrainVae(patch_side=32, latent=8, widths=[4, 8])
        if stream == "image":
            task.stream = VAE_STREAM_IMAGE
            task.images.append(self.image)
        else:
            task.stream = VAE_STREAM_MASK
            task.candidates.append("projects/discs/candidates/first")
        name = f"{stream}-encoder"
        limits = TrainingLimits(iterations=10)
        return TrainRequest(run=name, model=name, train_vae=task, seed=1, limits=limits)

    def job(self, name: str, spec: Job) -> Job:
        """Do a job to its end."""
        self.loop.jobs.create(self.project, name, spec)
        *_, last = self.loop.jobs.watch(self.project, name, timeout_seconds=120)
        assert last.status.state == WORK_STATE_SUCCEEDED, last.status
        return last

    def round_spec(self, *, budget: int = 12) -> RoundSpec:
        """Return a round of every step."""
        spec = round_spec(
            images=[self.image],
            base_model="base",
            encoders={"image": "image-encoder", "mask": "mask-encoder"},
            budget=budget,
            random_share=0.25,
            seed=3,
            training=RoundTraining(
                limits=TrainingLimits(iterations=10),
                replay=self.base_training().train_base.regions,
                tune_image_encoder=True,
            ),
        )
        spec.proposal.patch_side = 32
        spec.proposal.block_shape.CopyFrom(Index3(z=4, y=64, x=64))
        return spec

    def answer(self, round: str, *, at_most: int = 1000) -> list[Label]:
        """Answer what is in the queue, half True and half False; return what was acknowledged."""
        labels: list[Label] = []
        while len(labels) < at_most:
            leased = self.labels.labels.lease(
                self.project, count=min(4, at_most - len(labels)), round=round
            )
            if not leased:
                break
            answers = {one.query.name: one.query.rank % 2 == 0 for one in leased}
            labels += self.labels.labels.submit(self.project, answers)
        return labels

    def wait(self, round: str, *, stage: int = 0) -> Round:
        """Wait until a round is over, or at a stage or past it."""
        state = Round()
        for state in self.loop.rounds.watch(self.project, round, timeout_seconds=180):
            if stage and state.status.stage >= stage:
                break
        return state


@pytest.fixture(
    params=["local", pytest.param("production", marks=[pytest.mark.s3, pytest.mark.postgres])]
)
def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """Every service as a process: over SQLite and a folder, then over PostgreSQL and S3."""
    if request.param == "local":
        databases = {name: f"sqlite:///{tmp_path / name}.sqlite" for name in ("labels", "loop")}
        store = (tmp_path / "store").as_uri()
    else:
        database: str = request.getfixturevalue("postgres_database")
        databases = {"labels": database, "loop": database}
        store = request.getfixturevalue("s3_store_uri")
        s3: S3Settings = request.getfixturevalue("s3_settings")
        # For the importer here and for the services, which inherit them.
        monkeypatch.setenv("PARFOCAL_S3_ENDPOINT", s3.endpoint)
        monkeypatch.setenv("PARFOCAL_S3_ACCESS_KEY", s3.access_key)
        monkeypatch.setenv("PARFOCAL_S3_SECRET_KEY", s3.secret_key)
        monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")
    with deployed(tmp_path, store=store, environment={}, databases=databases) as running:
        yield running


@pytest.fixture(scope="session")
def make_campaign() -> type[Campaign]:
    """Makes a campaign on services at addresses of the test's own."""
    return Campaign


@pytest.fixture
def campaign_on() -> Iterator[Callable[[Deployment], Campaign]]:
    """Makes a campaign on a deployment; its connections are closed at the end."""
    with ExitStack() as stack:

        def campaign_on(deployment: Deployment) -> Campaign:
            addresses = {name: deployment.address(name) for name in deployment.processes}
            campaign = Campaign(addresses, token=deployment.token, store=deployment.store)
            stack.callback(campaign.close)
            return campaign

        yield campaign_on
