"""Listing, loading and unloading models by Triton's calls, on a real server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from closed_files import closed
from closed_prefixes import closed_prefix
from model_files import spoil_test_output
from oip_requests import SECONDS, base_request, failure
from onnx_graphs import base_model, base_model_card
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import (
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    WrongState,
)
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import open_store

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip

CHANGES = {
    "RepositoryModelLoad": pb.RepositoryModelLoadRequest,
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest,
}


def accelerators(kind: str, name: str) -> str:
    return f"""optimization {{ execution_accelerators {{
        {kind}_execution_accelerator: [ {{ name: "{name}" }} ] }} }}"""


def load(oip: Oip, name: str) -> None:
    oip.admin.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), timeout=SECONDS)


def unload(oip: Oip, name: str) -> None:
    oip.admin.RepositoryModelUnload(
        pb.RepositoryModelUnloadRequest(model_name=name), timeout=SECONDS
    )


def is_ready(oip: Oip, name: str) -> bool:
    return oip.stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=SECONDS).ready


def index(oip: Oip, *, ready: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
    found = oip.stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready), timeout=SECONDS)
    return {(model.name, model.version): (model.state, model.reason) for model in found.models}


def version_served(oip: Oip, name: str) -> str:
    return oip.stub.ModelInfer(base_request(model=name), timeout=SECONDS).model_version


def test_the_index_lists_every_version_with_its_state_and_the_reason(oip: Oip) -> None:
    listed = index(oip)

    assert listed["base", "1"] == ("READY", "")
    assert listed["broken", "1"][0] == "UNAVAILABLE"
    assert "differs from the card" in listed["broken", "1"][1]
    assert list(listed) == sorted(listed)


def test_the_index_lists_what_is_ready_alone_if_asked_to(oip: Oip) -> None:
    listed = index(oip, ready=True)

    assert ("base", "1") in listed
    assert {state for state, _ in listed.values()} == {"READY"}


def test_an_unloaded_model_refuses_requests_until_it_is_loaded_again(oip: Oip) -> None:
    oip.publish("resting")
    load(oip, "resting")
    unload(oip, "resting")

    error = failure(oip.stub.ModelInfer, base_request(model="resting"))

    assert type(error) is WrongState
    assert error.reason == "ERROR_REASON_MODEL_NOT_READY"
    assert error.metadata["cause"] == "it was unloaded"
    assert not is_ready(oip, "resting")
    assert index(oip)["resting", "1"] == ("UNAVAILABLE", "it was unloaded")
    load(oip, "resting")
    assert is_ready(oip, "resting")
    assert version_served(oip, "resting") == "1"


def test_an_unloaded_model_is_not_picked_up_when_a_version_is_published(oip: Oip) -> None:
    oip.publish("asleep")
    unload(oip, "asleep")

    oip.publish("asleep", divisor=510.0)
    # The watcher looks every 50 ms.
    assert not threading.Event().wait(0.3)

    assert not is_ready(oip, "asleep")
    load(oip, "asleep")
    assert version_served(oip, "asleep") == "2"


def test_unloading_again_and_loading_again_are_no_errors(oip: Oip) -> None:
    oip.publish("twice")

    for _ in range(2):
        unload(oip, "twice")
    for _ in range(2):
        load(oip, "twice")

    assert is_ready(oip, "twice")


def test_a_model_that_fails_its_self_test_cannot_be_loaded(oip: Oip) -> None:
    error = failure(
        oip.admin.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="broken")
    )

    assert type(error) is WrongState
    assert error.reason == "ERROR_REASON_MODEL_SELF_TEST_FAILED"


def test_a_model_that_got_worse_serves_on_as_it_was(oip: Oip) -> None:
    oip.publish("worse")
    load(oip, "worse")
    spoil_test_output(oip.store, "worse")

    failure(oip.admin.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="worse"))

    assert version_served(oip, "worse") == "1"


@pytest.mark.parametrize(
    ("settings", "provider"),
    [
        ("instance_group [ { kind: KIND_GPU } ]", "CUDAExecutionProvider"),
        (accelerators("gpu", "tensorrt"), "TensorrtExecutionProvider"),
        (accelerators("cpu", "openvino"), "OpenVINOExecutionProvider"),
    ],
)
def test_a_model_that_demands_what_is_not_there_is_refused_and_not_run_on_the_processor(
    oip: Oip, settings: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    name = f"demands-{provider.lower()}"
    oip.store.write(f"models/{name}/config.pbtxt", settings.encode())
    oip.publish(name)

    error = failure(oip.admin.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name=name))

    assert type(error) is WrongState
    assert error.reason == "ERROR_REASON_PROVIDER_UNAVAILABLE"
    assert error.metadata["provider"] == provider
    assert not is_ready(oip, name)
    assert index(oip)[name, "1"][0] == "UNAVAILABLE"
    assert provider in index(oip)[name, "1"][1]
    refused = failure(oip.stub.ModelInfer, base_request(model=name))
    assert refused.reason == "ERROR_REASON_PROVIDER_UNAVAILABLE"


def test_a_model_without_room_is_refused_and_others_serve_on(
    tmp_path: Path,
) -> None:
    store = open_store((tmp_path / "store").as_uri())
    repository = ModelRepository(store)
    for name in ("large", "small"):
        repository.publish(name, base_model(), card=base_model_card(), lineage={})
    store.write("models/small/config.pbtxt", b"max_batch_size: 1")
    config = InferenceConfig(
        port=0, store_uri=store.root, anonymous_role="admin", session_threads=1,
        model_memory_bytes=8192,
    )  # fmt: skip
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        request = pb.RepositoryModelLoadRequest(model_name="large")
        error = failure(stub.RepositoryModelLoad, request)

        assert type(error) is Exhausted
        assert error.reason == "ERROR_REASON_MODEL_MEMORY"
        assert error.metadata["limit"] == "8192"
        assert stub.ModelInfer(base_request(model="small"), timeout=SECONDS).model_name == "small"
        assert failure(stub.ModelInfer, base_request(model="large")).reason == error.reason


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def half_closed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InferenceConfig]:
    """Settings of a server in whose repository the model `base` may be read and `closed` not."""
    config = InferenceConfig(
        port=0,
        store_uri=(tmp_path / "store").as_uri(),
        anonymous_role="admin",
        session_threads=1,
    )
    if request.param == "s3":
        config = replace(
            config,
            store_uri=request.getfixturevalue("s3_store_uri"),
            s3=request.getfixturevalue("s3_settings"),
        )
    store = open_store(config.store_uri, s3=config.s3)
    for name in ("base", "closed"):
        ModelRepository(store).publish(name, base_model(), card=base_model_card(), lineage={})
    shut = (
        closed_prefix(config.s3, f"{store.root}/models/closed")
        if request.param == "s3"
        else closed(tmp_path / "store" / "models" / "closed")
    )
    with shut:
        yield config


def test_a_model_whose_folder_may_not_be_read_is_told_and_others_serve(
    half_closed: InferenceConfig,
) -> None:
    with (
        serving_in_thread([build(half_closed)], half_closed) as server,
        sync_channel(server.address) as channel,
    ):
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=SECONDS).models
        served = stub.ModelInfer(base_request(model="base"), timeout=SECONDS).model_name
        error = failure(stub.ModelInfer, base_request(model="closed"))

    assert served == "base"
    assert [(each.name, each.version, each.state) for each in index] == [
        ("base", "1", "READY"),
        ("closed", "", "UNAVAILABLE"),
    ]
    assert "the object store" in index[1].reason
    assert not index[0].reason
    assert error.reason == "ERROR_REASON_MODEL_NOT_READY"


def test_a_model_whose_accelerator_nobody_knows_is_not_served(oip: Oip) -> None:
    oip.store.write("models/rocket/config.pbtxt", accelerators("gpu", "rocket").encode())
    oip.publish("rocket")

    error = failure(
        oip.admin.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="rocket")
    )

    assert error.reason == "ERROR_REASON_MODEL_NOT_READY"
    assert "rocket" in error.message


@pytest.mark.parametrize("method", list(CHANGES))
def test_a_model_that_does_not_exist_is_neither_loaded_nor_unloaded(oip: Oip, method: str) -> None:
    error = failure(getattr(oip.admin, method), CHANGES[method](model_name="none"))

    assert type(error) is NotFound
    assert error.reason == "ERROR_REASON_MODEL_NOT_FOUND"


@pytest.mark.parametrize("method", list(CHANGES))
def test_a_request_without_a_name_is_refused(oip: Oip, method: str) -> None:
    error = failure(getattr(oip.admin, method), CHANGES[method]())

    assert type(error) is InvalidInput
    assert error.reason == "ERROR_REASON_MISSING_FIELD"


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_model_is_not_loaded_with_what_the_caller_brings(oip: Oip, name: str) -> None:
    message = pb.RepositoryModelLoadRequest(model_name="base")
    message.parameters[name].string_param = "{}"

    error = failure(oip.admin.RepositoryModelLoad, message)

    assert error.reason == "ERROR_REASON_INVALID_FIELD"
    assert error.metadata["field"] == f"parameters[{name}]"


def test_parameters_of_unloading_and_the_name_of_the_repository_are_passed_over(oip: Oip) -> None:
    oip.publish("ensemble")
    message = pb.RepositoryModelUnloadRequest(repository_name="here", model_name="ensemble")
    message.parameters["unload_dependents"].bool_param = True

    oip.admin.RepositoryModelUnload(message, timeout=SECONDS)

    assert not is_ready(oip, "ensemble")


@pytest.mark.parametrize("method", list(CHANGES))
def test_only_an_admin_may_load_and_unload(oip: Oip, method: str) -> None:
    error = failure(getattr(oip.stub, method), CHANGES[method](model_name="base"))

    assert type(error) is PermissionDenied
    assert error.metadata["required_role"] == "admin"
    assert is_ready(oip, "base")


def test_the_index_is_for_callers_with_a_token(oip: Oip) -> None:
    with sync_channel(oip.server.address) as channel:
        error = failure(
            oip_grpc.GRPCInferenceServiceStub(channel).RepositoryIndex, pb.RepositoryIndexRequest()
        )

    assert error.reason == "ERROR_REASON_TOKEN_MISSING"


@contextmanager
def asking(oip: Oip, name: str, *, threads: int = 4) -> Iterator[list[str]]:
    """Ask a model again and again; the list gets the reason of each failure, '' for an answer."""
    done = threading.Event()
    outcomes: list[str] = []

    def ask() -> None:
        while not done.is_set():
            try:
                oip.stub.ModelInfer(base_request(model=name), timeout=SECONDS)
            except grpc.RpcError as error:
                outcomes.append(domain_error(error).reason)
            else:
                outcomes.append("")

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(ask)
        try:
            yield outcomes
        finally:
            done.set()


def test_only_requests_for_an_unloaded_model_fail_while_models_come_and_go(oip: Oip) -> None:
    for name in ("steady", "fickle"):
        oip.publish(name)
        load(oip, name)

    with asking(oip, "steady") as steady, asking(oip, "fickle") as fickle:
        for _ in range(20):
            unload(oip, "fickle")
            load(oip, "steady")
            load(oip, "fickle")

    assert set(steady) == {""}
    assert set(fickle) <= {"", "ERROR_REASON_MODEL_NOT_READY"}
    assert version_served(oip, "fickle") == "1"


def test_no_request_fails_while_a_model_is_loaded_again_and_again(oip: Oip) -> None:
    oip.publish("busy")
    oip.publish("busy", divisor=510.0)
    load(oip, "busy")

    with asking(oip, "busy") as outcomes:
        loads = 0
        while loads < 20 or len(outcomes) < 100:
            load(oip, "busy")
            loads += 1

    assert set(outcomes) == {""}
