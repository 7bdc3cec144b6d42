"""A training server over a real object store, with workers in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from parfocal.training.v1 import training_service_pb2_grpc as service_grpc
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_training.app import build
from parfocal_training.config import TrainingConfig
from training_lab import TrainingLab


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """An object store with an image, its truth and a candidate set."""
    opened = open_store((tmp_path_factory.mktemp("training") / "store").as_uri())
    TrainingLab(opened)
    return opened


@pytest.fixture(scope="module")
def config(store: ObjectStore) -> TrainingConfig:
    """Settings of the server."""
    return TrainingConfig(
        port=0,
        store_uri=store.root,
        anonymous_role="curator",
        threads=1,
        checkpoint_seconds=0,
        max_attempts=3,
    )


@pytest.fixture(scope="module")
def training(config: TrainingConfig) -> Iterator[service_grpc.TrainingServiceStub]:
    """A stub of a running server, whose worker goes from test to test."""
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        yield service_grpc.TrainingServiceStub(channel)


@pytest.fixture
def run() -> str:
    """A name for a run, and for its model, that no other test has."""
    return f"run-{uuid4().hex[:8]}"
