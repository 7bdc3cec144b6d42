"""Clients of KServe and MLServer, whose messages differ from Triton's, on a real server.

Their messages are built here from field numbers, in a descriptor pool of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from oip_requests import SECONDS, failure
from parfocal_runtime.channels import sync_channel

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip

TEXT, TRUTH, WHOLE = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_INT64,
)
BYTES, MESSAGE = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_MESSAGE
OIP_SERVICE = "inference.GRPCInferenceService"
MLSERVER_SERVICE = "inference.model_repository.ModelRepositoryService"

# Field -> number and type: a wire type, negative where there are many, or the name of a message,
# with a star where there are many.
Fields = dict[str, tuple[int, "int | str"]]

_METADATA: dict[str, Fields] = {
    "TensorMetadata": {"name": (1, TEXT), "datatype": (2, TEXT)},
    "ModelMetadataRequest": {"name": (1, TEXT), "version": (2, TEXT)},
}
_INFER: dict[str, Fields] = {
    "Input": {"name": (1, TEXT), "datatype": (2, TEXT), "shape": (3, -WHOLE)},
    "Output": {"name": (1, TEXT), "datatype": (2, TEXT), "shape": (3, -WHOLE)},
    "ModelInferRequest": {
        "model_name": (1, TEXT),
        "id": (3, TEXT),
        "inputs": (5, "Input*"),
        "raw_input_contents": (7, -BYTES),
    },
    "ModelInferResponse": {
        "model_name": (1, TEXT),
        "model_version": (2, TEXT),
        "id": (3, TEXT),
        "outputs": (5, "Output*"),
        "raw_output_contents": (6, -BYTES),
    },
}
KSERVE: dict[str, Fields] = {
    **_METADATA,
    **_INFER,
    "ModelMetadataResponse": {
        "name": (1, TEXT),
        "versions": (2, -TEXT),
        "platform": (3, TEXT),
        "inputs": (4, "TensorMetadata*"),
        "outputs": (5, "TensorMetadata*"),
    },
    "RepositoryModelLoadRequest": {"model_name": (1, TEXT)},
    "RepositoryModelLoadResponse": {"model_name": (1, TEXT), "isLoaded": (2, TRUTH)},
    "RepositoryModelUnloadRequest": {"model_name": (1, TEXT)},
    "RepositoryModelUnloadResponse": {"model_name": (1, TEXT), "isUnloaded": (2, TRUTH)},
}
MLSERVER: dict[str, Fields] = {
    "ModelIndex": {
        "name": (1, TEXT),
        "version": (2, TEXT),
        "state": (3, TEXT),
        "reason": (4, TEXT),
    },
    "RepositoryIndexRequest": {"repository_name": (1, TEXT), "ready": (2, TRUTH)},
    "RepositoryIndexResponse": {"models": (1, "ModelIndex*")},
    "RepositoryModelLoadRequest": {"repository_name": (1, TEXT), "model_name": (2, TEXT)},
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": {"repository_name": (1, TEXT), "model_name": (2, TEXT)},
    "RepositoryModelUnloadResponse": {},
}


class Dialect:
    """The messages of a dialect, and calls with them."""

    def __init__(self, messages: dict[str, Fields], service: str) -> None:
        self._service = service
        file = descriptor_pb2.FileDescriptorProto(name="d.proto", package="d", syntax="proto3")
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field, (number, kind) in fields.items():
                message.field.append(_field(field, number, kind))
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"d.{name}"))
            for name in messages
        }

    def message(self, kind: str, /, **fields: Any) -> Any:
        return self._classes[kind](**fields)

    def method(self, channel: Any, name: str) -> Any:
        return channel.unary_unary(
            f"/{self._service}/{name}",
            request_serializer=self._classes[f"{name}Request"].SerializeToString,
            response_deserializer=self._classes[f"{name}Response"].FromString,
        )

    def call(self, oip: Oip, method: str, token: str, /, **fields: Any) -> Any:
        with sync_channel(oip.server.address, token=token) as channel:
            request = self.message(f"{method}Request", **fields)
            return self.method(channel, method)(request, timeout=SECONDS)


def _field(name: str, number: int, kind: int | str) -> FieldDescriptorProto:
    is_message = isinstance(kind, str)
    many = kind.endswith("*") if isinstance(kind, str) else kind < 0
    field = FieldDescriptorProto(name=name, number=number, json_name=name)
    field.label = (
        FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
    )
    field.type = MESSAGE if is_message else FieldDescriptorProto.Type.ValueType(abs(int(kind)))
    if isinstance(kind, str):
        field.type_name = f".d.{kind.rstrip('*')}"
    return field


@pytest.fixture(scope="module")
def kserve() -> Dialect:
    return Dialect(KSERVE, OIP_SERVICE)


@pytest.fixture(scope="module")
def mlserver() -> Dialect:
    return Dialect(MLSERVER, MLSERVER_SERVICE)


def states(oip: Oip, mlserver: Dialect, *, ready: bool = False) -> dict[str, str]:
    index = mlserver.call(oip, "RepositoryIndex", oip.token, ready=ready)
    return {model.name: model.state for model in index.models}


def test_kserve_unloads_and_loads_by_the_name_in_its_own_place(
    oip: Oip, kserve: Dialect, mlserver: Dialect
) -> None:
    oip.publish("kserved")

    unloaded = kserve.call(oip, "RepositoryModelUnload", oip.admin_token, model_name="kserved")
    between = states(oip, mlserver)["kserved"]
    loaded = kserve.call(oip, "RepositoryModelLoad", oip.admin_token, model_name="kserved")

    assert (unloaded.model_name, unloaded.isUnloaded) == ("kserved", True)
    assert between == "UNAVAILABLE"
    assert (loaded.model_name, loaded.isLoaded) == ("kserved", True)
    assert states(oip, mlserver)["kserved"] == "READY"


def test_kserve_hears_that_a_model_is_unknown(oip: Oip, kserve: Dialect) -> None:
    with sync_channel(oip.server.address, token=oip.admin_token) as channel:
        error = failure(
            kserve.method(channel, "RepositoryModelLoad"),
            kserve.message("RepositoryModelLoadRequest", model_name="none"),
        )

    assert error.reason == "ERROR_REASON_MODEL_NOT_FOUND"
    assert error.metadata["model"] == "none"


def test_kserve_reads_metadata_that_has_more_than_its_own(oip: Oip, kserve: Dialect) -> None:
    found = kserve.call(oip, "ModelMetadata", oip.token, name="base")

    assert (found.name, list(found.versions)) == ("base", ["1"])
    assert [tensor.name for tensor in found.inputs] == ["image"]


def test_kserve_gets_an_answer_with_its_id(oip: Oip, kserve: Dialect) -> None:
    array = np.array([[7, 8]], np.int64)
    tensor = kserve.message("Input", name="x", datatype="INT64", shape=[1, 2])

    answer = kserve.call(
        oip,
        "ModelInfer",
        oip.token,
        model_name="id-int64",
        id="k-1",
        inputs=[tensor],
        raw_input_contents=[array.tobytes()],
    )

    assert answer.id == "k-1"
    assert list(answer.outputs[0].shape) == [1, 2]
    assert answer.raw_output_contents[0] == array.tobytes()


def test_mlserver_lists_unloads_and_loads_by_its_own_service(oip: Oip, mlserver: Dialect) -> None:
    oip.publish("mlserved")
    admin = oip.admin_token

    mlserver.call(oip, "RepositoryModelLoad", admin, model_name="mlserved")
    first = states(oip, mlserver)
    mlserver.call(oip, "RepositoryModelUnload", admin, model_name="mlserved")
    second = states(oip, mlserver)
    ready = states(oip, mlserver, ready=True)
    mlserver.call(oip, "RepositoryModelLoad", admin, model_name="mlserved")
    third = states(oip, mlserver)

    assert [found["mlserved"] for found in (first, second, third)] == [
        "READY",
        "UNAVAILABLE",
        "READY",
    ]
    assert "mlserved" not in ready
    assert set(ready.values()) == {"READY"}


def test_mlservers_index_says_why_a_model_is_not_ready(oip: Oip, mlserver: Dialect) -> None:
    index = mlserver.call(oip, "RepositoryIndex", oip.token)

    (broken,) = (model for model in index.models if model.name == "broken")
    assert broken.version == "1"
    assert "differs from the card" in broken.reason


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
@pytest.mark.parametrize("dialect", ["kserve", "mlserver"])
def test_every_dialect_needs_an_admin_to_load_and_unload(
    oip: Oip, dialect: str, method: str, request: pytest.FixtureRequest
) -> None:
    spoken: Dialect = request.getfixturevalue(dialect)
    with sync_channel(oip.server.address, token=oip.token) as channel:
        error = failure(
            spoken.method(channel, method), spoken.message(f"{method}Request", model_name="base")
        )

    assert error.reason == "ERROR_REASON_ROLE_TOO_LOW"


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
@pytest.mark.parametrize("dialect", ["kserve", "mlserver"])
def test_no_dialect_loads_or_unloads_what_has_no_name(
    oip: Oip, dialect: str, method: str, request: pytest.FixtureRequest
) -> None:
    spoken: Dialect = request.getfixturevalue(dialect)
    with sync_channel(oip.server.address, token=oip.admin_token) as channel:
        error = failure(spoken.method(channel, method), spoken.message(f"{method}Request"))

    assert error.reason == "ERROR_REASON_MISSING_FIELD"
