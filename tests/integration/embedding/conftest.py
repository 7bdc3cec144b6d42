"""An embedding server over a real object store with two encoders and one candidate set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_graphs import base_model, base_model_card, encoder
from parfocal.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from parfocal_embedding.app import build
from parfocal_embedding.config import EmbeddingConfig
from parfocal_runtime.arrays import create_array
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.cards import Stream, encoder_card
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import create_table

CANDIDATES = 600
Patches = NDArray[np.uint8]
SET = "projects/demo/candidates/first"


@pytest.fixture
def patches() -> Patches:
    """Picture patches (N, 4, 4) of the set."""
    return np.random.default_rng(0).integers(0, 256, (CANDIDATES, 4, 4), dtype=np.uint8)


@pytest.fixture
def fill(patches: Patches) -> Callable[[ObjectStore], ObjectStore]:
    """Put encoders, a base model and a candidate set into an object store and return it."""

    def filled(store: ObjectStore) -> ObjectStore:
        publish(store, "texture", "image", TensorProto.UINT8, np.dtype(np.uint8))
        publish(store, "shape", "mask", TensorProto.INT8, np.dtype(np.int8))
        ModelRepository(store).publish("base", base_model(), card=base_model_card(), lineage={})
        masks = (patches % 3).astype(np.int8) - 1
        for name, values in (("image", patches), ("mask", masks)):
            array = create_array(
                store,
                f"{SET}/patches.zarr/{name}",
                shape=values.shape,
                dtype=values.dtype,
                chunks=(100, 4, 4),
            )
            array.write(values).result()
        create_table(store, f"{SET}/table.parquet", pa.table({"candidate": range(CANDIDATES)}))
        return store

    return filled


@pytest.fixture
def store(tmp_path: Path, fill: Callable[[ObjectStore], ObjectStore]) -> ObjectStore:
    """An object store in a folder, filled."""
    return fill(open_store((tmp_path / "store").as_uri()))


def publish(
    store: ObjectStore, name: str, stream: Stream, element: int, dtype: np.dtype[np.generic]
) -> int:
    """Publish an encoder whose vectors are the pixels of 4 x 4 patches."""
    test = np.arange(32).reshape(2, 1, 4, 4).astype(dtype)
    card = encoder_card(
        "Pixels as vectors.",
        stream,
        test_input=test,
        test_output=test.reshape(2, 16).astype(np.float32),
    )
    model = encoder(16, element=element)
    return ModelRepository(store).publish(name, model, card=card, lineage={})


@pytest.fixture
def embedding(store: ObjectStore) -> Iterator[EmbeddingServiceStub]:
    """A stub of a running server."""
    config = EmbeddingConfig(port=0, store_uri=store.root, anonymous_role="curator")
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        yield EmbeddingServiceStub(channel)
