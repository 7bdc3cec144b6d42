"""A suggestion server over a real object store, with one small candidate set in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from parfocal.suggestion.v1 import suggestion_service_pb2_grpc as service_grpc
from parfocal_runtime.arrays import create_array
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import create_table
from parfocal_suggestion.app import build
from parfocal_suggestion.config import SuggestionConfig

CANDIDATES = 60
SET = "projects/demo/candidates/first"


@pytest.fixture
def fill() -> Callable[[ObjectStore], ObjectStore]:
    """Put a candidate set and two embeddings into an object store and return it."""

    def filled(store: ObjectStore) -> ObjectStore:
        rng = np.random.default_rng(0)
        table = pa.table(
            {
                "candidate": np.arange(CANDIDATES),
                "mean_probability": rng.random(CANDIDATES, np.float32),
                "max_probability": rng.random(CANDIDATES, np.float32),
                "area": rng.integers(5, 500, CANDIDATES, np.int32),
            }
        )
        create_table(store, f"{SET}/table.parquet", table)
        for name, columns in (("mask", 3), ("image", 6)):
            array = create_array(
                store,
                f"projects/demo/embeddings/first/{name}-1.zarr",
                shape=(CANDIDATES, columns),
                dtype=np.float32,
                chunks=(16, columns),
            )
            array.write(rng.normal(size=(CANDIDATES, columns)).astype(np.float32)).result()
        return store

    return filled


@pytest.fixture
def store(tmp_path: Path, fill: Callable[[ObjectStore], ObjectStore]) -> ObjectStore:
    """An object store in a folder, filled."""
    return fill(open_store((tmp_path / "store").as_uri()))


@pytest.fixture
def suggestion(store: ObjectStore) -> Iterator[service_grpc.SuggestionServiceStub]:
    """A stub of a running server."""
    config = SuggestionConfig(port=0, store_uri=store.root, anonymous_role="curator")
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        yield service_grpc.SuggestionServiceStub(channel)
