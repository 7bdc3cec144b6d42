"""Callers who prove by a certificate who they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from certificates import Authority, Certificate
from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import aio_channel, domain_error, sync_channel
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.errors import DomainError, Unavailable
from parfocal_runtime.server import RunningServer, serving_in_thread

ANYONE = Rule(Role.VIEWER, anywhere=True)
RULES = {f"/tests.Echo/{name}": ANYONE for name in ("Unary", "ServerStream")}
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    entries = [
        {"name": "loop", "certificate": "URI:spiffe://lab/loop", "role": "curator"},
        {"name": "ann", "certificate": "dns:ann.lab", "role": "annotator"},
        {"name": "vic", "certificate": "CN:Victor", "projects": {"vnc": "viewer"}},
    ]
    file = tmp_path / "tokens"
    file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return file


@pytest.fixture
def mutual(config: ServerConfig, authority: Authority, tokens_file: Path) -> ServerConfig:
    own = authority.certificate("server", server=True)
    return replace(
        config,
        anonymous_role="",
        tokens_file=str(tokens_file),
        tls_certificate_file=own.chain,
        tls_key_file=own.key,
        tls_client_ca_file=authority.ca_file,
    )


@pytest.fixture
def running(echo: Any, mutual: ServerConfig) -> Iterator[RunningServer]:
    with serving_in_thread([echo.service()], mutual, rules=RULES) as server:
        yield server


@pytest.fixture
def ask(running: RunningServer, authority: Authority) -> Ask:
    def ask(certificate: Certificate, *, token: str = "") -> str:
        return who(running, authority, certificate, token=token)

    return ask


def who(
    server: RunningServer, authority: Authority, certificate: Certificate, *, token: str = ""
) -> str:
    channel: Any = sync_channel(
        server.address,
        token=token,
        ca_file=authority.ca_file,
        certificate_file=certificate.chain,
        key_file=certificate.key,
    )
    with channel:
        try:
            return str(channel.unary_unary("/tests.Echo/Unary")(b"who", timeout=20).decode())
        except grpc.RpcError as error:
            raise domain_error(error) from None


def test_the_owner_of_a_certificate_is_found_by_what_it_names(
    ask: Ask, authority: Authority
) -> None:
    found = [
        ask(authority.certificate("a", uris=["https://x.example", "spiffe://lab/loop"])),
        ask(authority.certificate("b", dns=["other.lab", "ann.lab"])),
        ask(authority.certificate("Victor")),
    ]

    assert found == ["loop CURATOR", "ann ANNOTATOR", "vic VIEWER"]


def test_a_name_of_one_kind_is_none_of_another(ask: Ask, authority: Authority) -> None:
    with pytest.raises(DomainError) as caught:
        ask(authority.certificate("ann.lab", uris=["dns:ann.lab"], dns=["Victor"]))

    assert caught.value.reason == "ERROR_REASON_CERTIFICATE_UNKNOWN"


def test_a_certificate_that_nobody_knows_lets_nobody_in(ask: Ask, authority: Authority) -> None:
    with pytest.raises(DomainError) as caught:
        ask(authority.certificate("stranger", dns=["stranger.lab"]))

    assert caught.value.reason == "ERROR_REASON_CERTIFICATE_UNKNOWN"


def test_a_certificate_of_another_authority_does_not_connect(ask: Ask, tmp_path: Path) -> None:
    forged = Authority(tmp_path, name="other").certificate("a", uris=["spiffe://lab/loop"])

    with pytest.raises(Unavailable):
        ask(forged)


def test_without_a_certificate_nobody_connects(
    running: RunningServer, authority: Authority
) -> None:
    channel: Any = sync_channel(running.address, ca_file=authority.ca_file)
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tests.Echo/Unary")(b"who", timeout=20)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_token_counts_before_a_certificate(
    ask: Ask, authority: Authority, tokens_file: Path
) -> None:
    token = write_token(tokens_file, name="bob", role=Role.VIEWER)
    known = authority.certificate("a", uris=["spiffe://lab/loop"])

    assert ask(known, token=token) == "bob VIEWER"
    with pytest.raises(DomainError) as caught:
        ask(known, token="wrong")
    assert caught.value.reason == "ERROR_REASON_TOKEN_INVALID"


def test_who_is_taken_out_of_the_file_is_out_at_once(
    ask: Ask, authority: Authority, tokens_file: Path
) -> None:
    known = authority.certificate("a", uris=["spiffe://lab/loop"])
    assert ask(known)

    tokens_file.write_text(tokens_file.read_text().replace("lab/loop", "lab/another"))

    with pytest.raises(DomainError):
        ask(known)


def test_where_callers_may_be_anonymous_unknown_certificates_are(
    echo: Any, mutual: ServerConfig, authority: Authority
) -> None:
    open_to_all = replace(mutual, anonymous_role="viewer")
    with serving_in_thread([echo.service()], open_to_all, rules=RULES) as server:
        found = who(server, authority, authority.certificate("stranger"))

    assert found == "anonymous VIEWER"


def test_certificates_go_with_calls_in_the_event_loop_too(
    running: RunningServer, authority: Authority
) -> None:
    shown = authority.certificate("a", uris=["spiffe://lab/loop"])

    async def ask() -> bytes:
        channel: Any
        async with aio_channel(
            running.address,
            ca_file=authority.ca_file,
            certificate_file=shown.chain,
            key_file=shown.key,
        ) as channel:
            answer: bytes = await channel.unary_unary("/tests.Echo/Unary")(b"who")
            return answer

    assert asyncio.run(ask()) == b"loop CURATOR"


def test_a_certificate_that_is_replaced_is_shown_to_whoever_connects_next(
    running: RunningServer, mutual: ServerConfig, authority: Authority, tmp_path: Path
) -> None:
    known = authority.certificate("a", uris=["spiffe://lab/loop"])
    another = Authority(tmp_path, name="renewed")
    fresh = another.certificate("server", server=True)
    assert who(running, authority, known) == "loop CURATOR"

    # As whoever renews certificates does it: one file after the other.
    Path(fresh.chain).replace(mutual.tls_certificate_file)
    assert who(running, authority, known) == "loop CURATOR"
    Path(fresh.key).replace(mutual.tls_key_file)

    assert who(running, another, known) == "loop CURATOR"
    with pytest.raises(Unavailable):
        who(running, authority, known)


def test_a_key_of_another_certificate_stops_the_start(
    mutual: ServerConfig, authority: Authority
) -> None:
    other = authority.certificate("other", server=True)

    with (
        pytest.raises(ConfigError, match="are no certificate and its key"),
        serving_in_thread([], replace(mutual, tls_key_file=other.key)),
    ):
        pass


@pytest.mark.parametrize(
    "files",
    [{"ca_file": "/none"}, {"certificate_file": "/none"}],
)
def test_a_file_that_is_missing_is_named(files: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        sync_channel("127.0.0.1:1", **files)


def test_asking_for_certificates_without_tls_stops_the_start(mutual: ServerConfig) -> None:
    plain = replace(mutual, tls_certificate_file="", tls_key_file="")

    with (
        pytest.raises(ConfigError, match="PARFOCAL_TLS_CLIENT_CA_FILE"),
        serving_in_thread([], plain),
    ):
        pass
