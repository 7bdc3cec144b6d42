"""No token is written anywhere: not to the log, the audit trail, the metrics, an answer."""

from __future__ import annotations

import hashlib
import io
import logging
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from certificates import Authority
from parfocal._connection import Endpoint
from parfocal_loop.peers import Address
from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.config import OidcSettings, ServerConfig
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import RunningServer, serving_in_thread
from token_issuer import AUDIENCE, TokenIssuer, rsa_key

RULES = {
    "/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True),
    "/tests.Echo/Curate": Rule(Role.CURATOR, anywhere=True, changes=True),
}
CHATTY = ("asyncio", "grpc", "grpc._cython.cygrpc", "urllib3")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, at DEBUG, by other libraries too, as a service process writes it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    stream = io.StringIO()
    configure_logs(service="test", level="DEBUG", stream=stream)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[TokenIssuer]:
    with TokenIssuer(Authority(tmp_path).certificate("issuer", server=True)) as serving:
        yield serving


@pytest.fixture
def config_with_everything(
    config: ServerConfig, issuer: TokenIssuer, tmp_path: Path
) -> ServerConfig:
    oidc = OidcSettings(
        issuer=issuer.url,
        audience=AUDIENCE,
        ca_file=str(tmp_path / "authority.pem"),
        refresh_seconds=0,
    )
    return replace(
        config,
        anonymous_role="",
        tokens_file=str(tmp_path / "tokens"),
        oidc=oidc,
        audit_file=str(tmp_path / "audit"),
        rate_limit=0.01,
        rate_burst=9,
    )


def tokens(file: Path, issuer: TokenIssuer) -> list[str]:
    known = write_token(file, name="ann", role=Role.VIEWER)
    head, body, signature = issuer.token(parfocal_role="viewer").split(".")
    return [
        known,
        known[:-1],
        known + "x",
        f"{known} {known}",
        "an-unknown-token",
        issuer.token(parfocal_role="curator"),
        issuer.token(parfocal_role="viewer", jti="a-secret-claim"),
        issuer.token(exp=1),
        issuer.token(aud="a-foreign-audience"),
        issuer.token(iss="https://another-issuer.example"),
        issuer.token(sub=None, nonce="a-secret-nonce"),
        issuer.token(key=rsa_key("unknown-key")),
        issuer.token(key=rsa_key("first")),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        f"{head[::-1]}.{body}.{signature}",
        f"{head}.{signature}.{body}",
        "not.a.token-at-all",
        "." * 2000,
    ]


def answers(server: RunningServer, header: str) -> str:
    """All that comes back from calls with a header, good or not."""
    said = []
    channel: Any = sync_channel(server.address)
    with channel:
        for method in ("Unary", "Curate"):
            for request in (b"", b"fail", b"bug"):
                call = channel.unary_unary(f"/tests.Echo/{method}").future(
                    request, metadata=[("authorization", header)], timeout=20
                )
                error = call.exception()
                said += [str(error), str(call.details()), str(call.trailing_metadata())]
    return "\n".join(said)


def parts(token: str) -> set[str]:
    """A token, its digest, and what of it is long enough to be told from other text."""
    return {
        piece
        for piece in (
            token,
            *token.split("."),
            *token.split(),
            hashlib.sha256(token.encode()).hexdigest(),
        )
        if len(piece) > 12
    }


def test_no_token_is_written_anywhere(
    echo: Any,
    config_with_everything: ServerConfig,
    issuer: TokenIssuer,
    tmp_path: Path,
    log: io.StringIO,
) -> None:
    secret = tokens(tmp_path / "tokens", issuer)
    headers = [f"{scheme} {token}" for token in secret for scheme in ("Bearer", "Basic", "")]
    with serving_in_thread([echo.service()], config_with_everything, rules=RULES) as running:
        said = "\n".join(answers(running, header.strip()) for header in headers)
        issuer.stop()
        said += answers(running, f"Bearer {issuer.token(key=rsa_key('third'))}")
        url = f"http://127.0.0.1:{running.metrics_port}/metrics"
        metrics = urllib.request.urlopen(url, timeout=20).read().decode()
    written = {
        "answers": said,
        "log": log.getvalue(),
        "audit": (tmp_path / "audit").read_text(),
        "metrics": metrics,
    }

    found = {
        (place, piece)
        for place, text in written.items()
        for token in secret
        for piece in parts(token)
        if piece in text
    }

    assert found == set()
    # What was looked through was really written.
    assert "call finished" in written["log"]
    assert "token of the issuer refused" in written["log"]
    assert "keys of the issuer not fetched" in written["log"]
    assert '"reason":"ERROR_REASON_TOKEN_INVALID"' in written["audit"]
    assert '"reason":"ERROR_REASON_TOKEN_EXPIRED"' in written["audit"]
    assert '"reason":"ERROR_REASON_RATE_LIMITED"' in written["audit"]
    assert "grpc_server_handled_total" in written["metrics"]


def test_what_holds_a_token_does_not_show_it() -> None:
    shown = [
        repr(Endpoint("host:1", token="the-secret")),
        repr(Address("host:1", "the-secret")),
    ]

    assert not [each for each in shown if "the-secret" in each]
