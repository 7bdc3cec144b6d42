"""NVIDIA's client, from an environment of its own: it pins an older protobuf than ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from foreign_environments import printed_by
from parfocal_inference.oip.v2 import inference_pb2
from parfocal_runtime.triton.v1 import model_config_pb2

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip


@pytest.fixture(scope="module")
def seen(oip: Oip) -> dict[str, Any]:
    """What the client saw of the server."""
    oip.publish("visiting")
    found: dict[str, Any] = printed_by(
        "tritonclient", "triton_client.py", oip.server.address, oip.token, oip.admin_token
    )
    return found


def test_tritonclient_finds_the_server_live_and_ready(seen: dict[str, Any]) -> None:
    assert seen["live"]
    assert seen["ready"]
    assert seen["server"] == "parfocal"


def test_tritonclient_knows_which_models_are_ready(seen: dict[str, Any]) -> None:
    assert seen["model_ready"]
    assert not seen["broken_ready"]


def test_tritonclient_reads_the_metadata_of_a_model(seen: dict[str, Any]) -> None:
    (image,) = seen["metadata"]["inputs"]

    assert image == {"name": "image", "datatype": "UINT8", "shape": ["-1", "1", "4", "8", "8"]}
    assert seen["metadata"]["platform"] == "onnxruntime_onnx"


def test_tritonclient_gets_a_correct_answer_with_its_id(seen: dict[str, Any]) -> None:
    assert seen["id"] == "lab-1"
    assert seen["shape"] == [2, 1, 4, 8, 8]
    assert seen["largest_error"] < 1e-6


def test_tritonclient_sends_and_gets_text(seen: dict[str, Any]) -> None:
    assert seen["words"] == ["mito", "vesicle"]


def test_tritonclient_hears_that_a_model_is_unknown(seen: dict[str, Any]) -> None:
    assert seen["unknown"] == "StatusCode.NOT_FOUND"


def test_tritonclient_may_send_a_priority_and_a_timeout(seen: dict[str, Any]) -> None:
    assert seen["scheduled"] == [2, 1, 4, 8, 8]


def test_tritonclient_streams_in_order_past_a_request_that_fails(seen: dict[str, Any]) -> None:
    wanted: list[Any] = list(range(20))
    wanted[7] = "there is no model none (ERROR_REASON_MODEL_NOT_FOUND)"

    assert seen["streamed"] == wanted


def test_tritonclient_reads_the_configuration_of_a_model(seen: dict[str, Any]) -> None:
    config = seen["config"]

    assert (config["name"], config["platform"]) == ("base", "onnxruntime_onnx")
    assert config["max_batch_size"] == 64
    assert config["input"] == [
        {"name": "image", "data_type": "TYPE_UINT8", "dims": ["1", "4", "8", "8"]}
    ]
    assert config["output"][0]["data_type"] == "TYPE_FP32"
    assert "dynamic_batching" in config


def test_tritonclient_reads_what_was_counted(seen: dict[str, Any]) -> None:
    (counted,) = seen["statistics"]["model_stats"]

    # One request in the client's script before the one with a priority, of two rows each.
    assert (counted["inference_count"], counted["execution_count"]) == ("4", "2")
    assert counted["inference_stats"]["success"]["count"] == "2"
    (size,) = counted["batch_stats"]
    assert (size["batch_size"], size["compute_infer"]["count"]) == ("2", "2")


def test_tritonclient_loads_and_unloads_a_model(seen: dict[str, Any]) -> None:
    assert seen["states"] == ["READY", "UNAVAILABLE", "READY"]
    assert not seen["is_ready_after_unload"]


def test_tritonclient_hears_that_only_an_admin_may_load(seen: dict[str, Any]) -> None:
    assert seen["refusal"] == "StatusCode.PERMISSION_DENIED"


def field_facts(field: FieldDescriptor) -> tuple[str, int, int, bool, str]:
    """What the wire knows of a field, and its name."""
    inner = field.message_type or field.enum_type
    return field.name, field.number, field.type, field.is_repeated, local(inner)


def local(described: Any) -> str:
    """The name of a message or an enum within its package."""
    if described is None:
        return ""
    return str(described.full_name).removeprefix(f"{described.file.package}.")


def messages_of(file: FileDescriptor) -> dict[str, Descriptor]:
    """All messages of a file by name, those inside of others too."""
    found: dict[str, Descriptor] = {}
    left = list(file.message_types_by_name.values())
    while left:
        message = left.pop()
        found[local(message)] = message
        left += message.nested_types
    return found


def enums_of(file: FileDescriptor) -> dict[str, dict[str, int]]:
    enums = list(file.enum_types_by_name.values())
    enums += [enum for message in messages_of(file).values() for enum in message.enum_types]
    return {local(enum): {value.name: value.number for value in enum.values} for enum in enums}


@pytest.fixture(scope="module")
def triton() -> dict[str, FileDescriptor]:
    """The client's descriptors of its configuration and its service."""
    printed = printed_by("tritonclient", "triton_descriptors.py")
    pool = DescriptorPool()
    files = [FileDescriptorProto.FromString(bytes.fromhex(each)) for each in printed]
    for file in files:
        pool.Add(file)
    config, service = (pool.FindFileByName(file.name) for file in files)
    return {"config": config, "service": service}


def test_every_message_of_triton_is_the_same_on_the_wire(
    triton: dict[str, FileDescriptor],
) -> None:
    ours = messages_of(inference_pb2.DESCRIPTOR)
    theirs = messages_of(triton["service"])

    more = {
        name: {field.name for field in message.fields}
        - {field.name for field in theirs[name].fields}
        for name, message in ours.items()
        if name in theirs
    }
    for name in more:
        known = {field_facts(field) for field in ours[name].fields}
        assert known >= {field_facts(field) for field in theirs[name].fields}, name

    # The Open Inference Protocol's own, and KServe's.
    assert {name: fields for name, fields in more.items() if fields} == {
        "ModelMetadataResponse": {"properties"},
        "RepositoryModelLoadResponse": {"model_name", "is_loaded"},
        "RepositoryModelUnloadResponse": {"model_name", "is_unloaded"},
    }
    missing = set(theirs) - set(ours)
    assert all("SharedMemory" in name or "Settings" in name or "Trace" in name for name in missing)


def test_every_method_of_triton_is_there_but_those_of_shared_memory_and_of_settings(
    triton: dict[str, FileDescriptor],
) -> None:
    def methods(file: FileDescriptor) -> dict[str, tuple[str, str, bool, bool]]:
        return {
            method.name: (
                local(method.input_type),
                local(method.output_type),
                method.client_streaming,
                method.server_streaming,
            )
            for method in file.services_by_name["GRPCInferenceService"].methods
        }

    ours, theirs = methods(inference_pb2.DESCRIPTOR), methods(triton["service"])

    assert ours.items() <= theirs.items()
    assert {name for name in theirs if name not in ours and "SharedMemory" not in name} == {
        "LogSettings",
        "TraceSetting",
    }


def test_what_we_know_of_a_models_configuration_is_tritons(
    triton: dict[str, FileDescriptor],
) -> None:
    ours, theirs = messages_of(model_config_pb2.DESCRIPTOR), messages_of(triton["config"])

    for name, message in ours.items():
        facts = {field_facts(field) for field in message.fields}
        assert facts <= {field_facts(field) for field in theirs[name].fields}, name
    numbers = enums_of(triton["config"])
    assert all(
        numbers[name] == values for name, values in enums_of(model_config_pb2.DESCRIPTOR).items()
    )
