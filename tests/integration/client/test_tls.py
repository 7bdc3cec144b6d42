"""The client and the loop's channels over TLS, with certificates on both sides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import Authority, Certificate
from parfocal import AccessError, Client, InvalidRequestError, UnavailableError
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_loop.app import addresses
from parfocal_loop.config import PREFIX, LoopConfig
from parfocal_loop.peers import Peers
from parfocal_runtime.config import from_env
from parfocal_runtime.server import serving_in_thread


@dataclass
class Served:
    address: str
    ca_file: str
    loop: Certificate
    stranger: Certificate


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    own = authority.certificate("server", server=True)
    entry = {"name": "loop", "certificate": "URI:spiffe://lab/loop", "role": "curator"}
    (folder / "tokens").write_text(json.dumps(entry))
    config = LabelsConfig(
        port=0,
        store_uri=(folder / "store").as_uri(),
        tokens_file=str(folder / "tokens"),
        database=f"sqlite:///{folder / 'labels.db'}",
        tls_certificate_file=own.chain,
        tls_key_file=own.key,
        tls_client_ca_file=authority.ca_file,
    )
    with serving_in_thread([build(config)], config) as server:
        yield Served(
            server.address,
            authority.ca_file,
            authority.certificate("loop", uris=["spiffe://lab/loop"]),
            authority.certificate("stranger"),
        )


def test_the_client_shows_a_certificate(served: Served) -> None:
    with Client(
        f"https://{served.address}",
        ca_file=served.ca_file,
        certificate_file=served.loop.chain,
        key_file=served.loop.key,
    ) as client:
        client.projects.create("vnc")

        assert client.projects.get("vnc").name == "projects/vnc"


def test_the_environment_names_the_files(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARFOCAL_SERVER", served.address)
    monkeypatch.setenv("PARFOCAL_CA_FILE", served.ca_file)
    monkeypatch.setenv("PARFOCAL_CLIENT_CERTIFICATE_FILE", served.loop.chain)
    monkeypatch.setenv("PARFOCAL_CLIENT_KEY_FILE", served.loop.key)

    with Client() as client:
        assert isinstance(list(client.projects.list()), list)


def test_who_is_not_known_is_told_so(served: Served) -> None:
    stranger = served.stranger
    with (
        Client(
            served.address,
            ca_file=served.ca_file,
            certificate_file=stranger.chain,
            key_file=stranger.key,
        ) as client,
        pytest.raises(AccessError) as caught,
    ):
        client.projects.get("vnc")

    assert caught.value.reason == "ERROR_REASON_CERTIFICATE_UNKNOWN"


def test_without_the_authority_there_is_no_connection(served: Served) -> None:
    with (
        Client(f"https://{served.address}", token="t", retry_seconds=0) as client,
        pytest.raises(UnavailableError),
    ):
        client.projects.get("vnc")


def test_a_missing_file_is_named(served: Served) -> None:
    with pytest.raises(InvalidRequestError, match="cannot read /none"):
        Client(served.address, ca_file="/none")


def test_the_loop_reaches_its_peers_over_tls(served: Served, tmp_path: Path) -> None:
    settings = {
        f"{PREFIX}_LABELS": served.address,
        f"{PREFIX}_PEER_CA_FILE": served.ca_file,
        f"{PREFIX}_PEER_CERTIFICATE_FILE": served.loop.chain,
        f"{PREFIX}_PEER_KEY_FILE": served.loop.key,
    }

    async def projects() -> pb.ListProjectsResponse:
        peers = Peers(addresses(from_env(LoopConfig, settings, PREFIX)))
        try:
            return await peers.labels.ListProjects(pb.ListProjectsRequest(), timeout=20)
        finally:
            await peers.close()

    assert asyncio.run(projects()).next_page_token == ""
