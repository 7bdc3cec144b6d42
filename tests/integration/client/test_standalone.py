from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onnx_graphs import base_model
from parfocal import AccessError, Client
from parfocal_inference.oip.v2 import inference_pb2, inference_pb2_grpc
from parfocal_standalone import DataFolderInUse, Standalone


def test_every_service_answers_on_one_port(server: Standalone) -> None:
    names = [
        "parfocal.labels.v1.LabelsService",
        "parfocal.inference.v1.InferenceService",
        "inference.GRPCInferenceService",
        "parfocal.embedding.v1.EmbeddingService",
        "parfocal.suggestion.v1.SuggestionService",
        "parfocal.training.v1.TrainingService",
        "parfocal.loop.v1.LoopService",
    ]

    with grpc.insecure_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        found = {
            name: stub.Check(health_pb2.HealthCheckRequest(service=name)).status for name in names
        }

    assert found == dict.fromkeys(names, health_pb2.HealthCheckResponse.SERVING)


def test_the_token_is_for_the_eyes_of_its_owner(server: Standalone) -> None:
    for name in ("token", "loop-token", "tokens.jsonl"):
        mode = (server.data_dir / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    assert (server.data_dir / "token").read_text() == server.token


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_is_made_is_for_its_owner(tmp_path: Path) -> None:
    with Standalone(tmp_path / "above" / "data"):
        assert mode_of(tmp_path / "above" / "data") == 0o700
        assert mode_of(tmp_path / "above") != 0o700


def test_labels_are_for_the_eyes_of_their_owner_in_a_folder_of_others_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with (
        Standalone(tmp_path) as server,
        Client(server.address, token=server.token) as client,
    ):
        client.projects.create("private")
        files = {path.name: mode_of(path) for path in tmp_path.glob("*.sqlite*")}
        assert mode_of(tmp_path) == 0o755

    assert files == {
        f"{name}.sqlite{beside}": 0o600
        for name in ("labels", "loop")
        for beside in ("", "-wal", "-shm")
    }


def test_who_may_call_is_not_for_the_environment_to_say(tmp_path: Path) -> None:
    elsewhere = {
        "PARFOCAL_OIDC_ISSUER": "https://login.example",
        "PARFOCAL_TLS_CLIENT_CA_FILE": "/none",
        "PARFOCAL_LOOP_PEER_TLS": "true",
        "PARFOCAL_LOOP_PEER_CA_FILE": "/none",
        "PARFOCAL_LOOP_PEER_CERTIFICATE_FILE": "/none",
        "PARFOCAL_ANONYMOUS_ROLE": "admin",
    }

    with Standalone(tmp_path, settings=elsewhere) as server:
        with Client(server.address, token=server.token) as client:
            assert list(client.projects.list()) == []
        with Client(server.address, token="none") as stranger, pytest.raises(AccessError):
            list(stranger.projects.list())


def test_a_client_finds_address_and_token_by_the_folder(server: Standalone) -> None:
    with Client(data_dir=server.data_dir) as client:
        assert client.address == server.address
        list(client.projects.list())


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_the_token_nobody_is_let_in(server: Standalone, token: str) -> None:
    with Client(server.address, token=token) as client, pytest.raises(AccessError):
        list(client.projects.list())


def test_a_caller_that_is_added_is_let_in_at_once(server: Standalone, client: Client) -> None:
    client.projects.create("shared")
    token = server.add_caller("ada", role="annotator")

    with Client(server.address, token=token) as annotator:
        assert list(annotator.labels.lease("shared")) == []
        with pytest.raises(AccessError) as caught:
            annotator.projects.create("another")

    assert caught.value.reason == "ERROR_REASON_ROLE_TOO_LOW"


def test_a_second_server_on_the_same_folder_is_refused(server: Standalone) -> None:
    with (
        pytest.raises(DataFolderInUse, match=f"which answers at {server.address}"),
        Standalone(server.data_dir),
    ):
        pass


def test_what_was_kept_is_there_after_another_start_with_another_token(tmp_path: Path) -> None:
    with (
        Standalone(tmp_path) as first,
        Client(first.address, token=first.token) as client,
    ):
        client.projects.create("kept")

    with (
        Standalone(tmp_path) as second,
        Client(second.address, token=second.token) as client,
    ):
        assert [project.name for project in client.projects.list()] == ["projects/kept"]

    assert second.token != first.token
    assert not (tmp_path / "server.json").exists()


def test_the_folder_says_where_the_server_and_its_store_are(server: Standalone) -> None:
    about = json.loads((server.data_dir / "server.json").read_text())

    assert about["address"] == server.address
    assert about["store"] == server.store_uri == (server.data_dir / "store").as_uri()


def test_a_published_model_is_ready_without_a_restart(
    server: Standalone, parfocal: Any, tmp_path: Path
) -> None:
    (tmp_path / "grey.onnx").write_bytes(base_model())

    done = parfocal("models", "publish", "hot", tmp_path / "grey.onnx")

    assert done.exit_code == 0, done.output
    with grpc.insecure_channel(server.address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = (("authorization", f"Bearer {server.token}"),)
        request = inference_pb2.ModelReadyRequest(name="hot")
        # A model that is asked for is taken up then, not at the next look around.
        assert stub.ModelReady(request, metadata=metadata, timeout=10).ready
