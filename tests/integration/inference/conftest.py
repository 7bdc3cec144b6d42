"""An inference server over a store with one image and two models in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from onnx_graphs import base_model, base_model_card, encoder
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_runtime.arrays import create_array, create_group
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.cards import encoder_card
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import LocalStore, ObjectStore

SHAPE = (6, 40, 200)
IMAGE = "projects/demo/images/vnc.ome.zarr/0"

Served: TypeAlias = Callable[..., AbstractContextManager[grpc.Channel]]
Fill: TypeAlias = Callable[[ObjectStore], None]


@pytest.fixture(scope="session")
def picture() -> npt.NDArray[np.uint8]:
    """The image: (6, 40, 200) smooth blobs."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (1, 3, 3))
    return np.asarray(np.clip(128 + 60 * smooth / smooth.std(), 0, 255), np.uint8)


@pytest.fixture
def fill(picture: npt.NDArray[np.uint8]) -> Fill:
    """Put the image, the base model `grey` and the encoder `pixels` into a store."""

    def into(store: ObjectStore) -> None:
        create_group(store, IMAGE.rpartition("/")[0], attributes={})
        array = create_array(store, IMAGE, shape=SHAPE, dtype=np.uint8, chunks=(4, 16, 16))
        array.write(picture).result()
        patch, vector = np.zeros((1, 1, 4, 4), np.uint8), np.zeros((1, 16), np.float32)
        card = encoder_card("Pixels.", "image", test_input=patch, test_output=vector)
        models = ModelRepository(store)
        models.publish("grey", base_model(), card=base_model_card(), lineage={})
        models.publish("pixels", encoder(), card=card, lineage={})

    return into


@pytest.fixture
def store(tmp_path: Path, fill: Fill) -> ObjectStore:
    """A local store that is filled."""
    opened = LocalStore(tmp_path / "store")
    fill(opened)
    return opened


@pytest.fixture
def served() -> Served:
    """Serve a store with settings of one's own; yields a channel."""

    @contextmanager
    def serve(store: ObjectStore, **settings: Any) -> Iterator[grpc.Channel]:
        config = InferenceConfig(
            **{"port": 0, "anonymous_role": "curator", "session_threads": 1, **settings}
        )
        with (
            serving_in_thread([build(config, store)], config) as server,
            sync_channel(server.address) as channel,
        ):
            yield channel

    return serve


@pytest.fixture
def inference(store: ObjectStore, served: Served) -> Iterator[InferenceServiceStub]:
    """A stub of a running server."""
    with served(store) as channel:
        yield InferenceServiceStub(channel)
