"""A running inference service with a handful of small models in its repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx import TensorProto

from model_files import spoil_test_output
from onnx_graphs import base_model, base_model_card, identity, sum_and_product
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import RunningServer, serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store

ELEMENTS = {
    "id-bool": TensorProto.BOOL,
    "id-uint8": TensorProto.UINT8,
    "id-int64": TensorProto.INT64,
    "id-fp16": TensorProto.FLOAT16,
    "id-bf16": TensorProto.BFLOAT16,
    "id-fp64": TensorProto.DOUBLE,
    "id-bytes": TensorProto.STRING,
}


@dataclass(frozen=True)
class Oip:
    """A running server and what is behind it.

    Attributes:
        server: The server.
        store: Its object store.
        token: Token of a viewer.
        admin_token: Token of an admin.
        stub: A stub that carries the viewer's token.
        admin: A stub that carries the admin's token.
    """

    server: RunningServer
    store: ObjectStore
    token: str
    admin_token: str
    stub: oip_grpc.GRPCInferenceServiceStub
    admin: oip_grpc.GRPCInferenceServiceStub

    @property
    def repository(self) -> ModelRepository:
        return ModelRepository(self.store)

    def publish(self, name: str, *, divisor: float = 255.0) -> int:
        """Publish a version of a base model and return its number."""
        card = base_model_card(divisor=divisor)
        return self.repository.publish(name, base_model(divisor=divisor), card=card, lineage={})


@pytest.fixture(scope="module")
def oip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oip]:
    """A server with these models: base, broken (fails its self-test), arithmetic, id-<type>."""
    folder = tmp_path_factory.mktemp("oip")
    store = open_store((folder / "store").as_uri())
    _publish_all(store, folder)
    tokens = folder / "tokens"
    token = write_token(tokens, name="lab-tool", role=Role.VIEWER)
    admin_token = write_token(tokens, name="keeper", role=Role.ADMIN)
    config = InferenceConfig(
        port=0,
        metrics_port=0,
        store_uri=store.root,
        tokens_file=str(tokens),
        session_threads=1,
        model_poll_seconds=0.05,
        max_message_bytes=1 << 20,
    )
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address, token=token) as channel,
        sync_channel(server.address, token=admin_token) as admin_channel,
    ):
        yield Oip(
            server,
            store,
            token,
            admin_token,
            oip_grpc.GRPCInferenceServiceStub(channel),
            oip_grpc.GRPCInferenceServiceStub(admin_channel),
        )


def _publish_all(store: ObjectStore, folder: Path) -> None:
    repository = ModelRepository(store)
    card = base_model_card()
    repository.publish("base", base_model(), card=card, lineage={})
    repository.publish("broken", base_model(), card=card, lineage={})
    spoil_test_output(store, "broken")
    graphs = {name: identity(element) for name, element in ELEMENTS.items()}
    for name, graph in {**graphs, "arithmetic": sum_and_product()}.items():
        file = folder / "model.onnx"
        file.write_bytes(graph)
        publish_file(store, name, file)
