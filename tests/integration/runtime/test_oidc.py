"""Tokens of a real issuer, over HTTPS, at a real server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from certificates import Authority
from parfocal_runtime.access import Rule
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.config import ConfigError, OidcSettings, ServerConfig
from parfocal_runtime.errors import DomainError, Unavailable
from parfocal_runtime.issuer_keys import IssuerKeys
from parfocal_runtime.oidc import OidcTokens
from parfocal_runtime.server import serving_in_thread
from token_issuer import AUDIENCE, TokenIssuer, ec_key, rsa_key

RULES = {
    "/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True),
    "/tests.Echo/Curate": Rule(Role.CURATOR, anywhere=True),
}
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def issuer(authority: Authority) -> Iterator[TokenIssuer]:
    with TokenIssuer(authority.certificate("issuer", server=True)) as serving:
        yield serving


@pytest.fixture
def trusting(config: ServerConfig, issuer: TokenIssuer, authority: Authority) -> ServerConfig:
    """A server that takes the issuer's tokens and nobody else's."""
    settings = OidcSettings(
        issuer=issuer.url, audience=AUDIENCE, ca_file=authority.ca_file, refresh_seconds=0
    )
    return replace(config, anonymous_role="", oidc=settings)


@pytest.fixture
def ask(echo: Any, trusting: ServerConfig) -> Iterator[Ask]:
    """Call with a token; returns who one is, or raises the refusal."""
    with (
        serving_in_thread([echo.service()], trusting, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        yield asking(channel)


def asking(channel: Any) -> Ask:
    def ask(token: str, method: str = "Unary") -> str:
        headers = [("authorization", f"Bearer {token}")]
        call = channel.unary_unary(f"/tests.Echo/{method}")
        try:
            return str(call(b"who", metadata=headers, timeout=20).decode())
        except grpc.RpcError as error:
            raise domain_error(error) from None

    return ask


def refusal(ask: Ask, token: str) -> str:
    with pytest.raises(DomainError) as caught:
        ask(token)
    return caught.value.reason


def test_a_token_of_the_issuer_lets_its_owner_in(ask: Ask, issuer: TokenIssuer) -> None:
    assert ask(issuer.token(sub="ann", parfocal_role="curator"), "Curate") == "ann CURATOR"


def test_the_highest_of_several_roles_counts_and_foreign_words_do_not(
    ask: Ask, issuer: TokenIssuer
) -> None:
    token = issuer.token(parfocal_role=["offline_access", "viewer", "annotator", 7])

    assert ask(token) == "ann ANNOTATOR"


@pytest.mark.parametrize(
    "claim", [{"vnc": "annotator", "BAD": "admin", "x": "boss"}, ["vnc:annotator", "x", 3]]
)
def test_roles_in_single_projects_count(ask: Ask, issuer: TokenIssuer, claim: Any) -> None:
    assert ask(issuer.token(parfocal_projects=claim)) == "ann ANNOTATOR"


def test_an_owner_without_a_role_is_known_and_may_do_nothing(ask: Ask, issuer: TokenIssuer) -> None:
    assert refusal(ask, issuer.token()) == "ERROR_REASON_ROLE_TOO_LOW"


def test_keys_on_curves_sign_as_well(ask: Ask, issuer: TokenIssuer) -> None:
    issuer.keys = [ec_key("curve")]

    assert ask(issuer.token(parfocal_role="viewer")) == "ann VIEWER"


def test_many_calls_fetch_the_keys_once(ask: Ask, issuer: TokenIssuer) -> None:
    for number in range(20):
        ask(issuer.token(sub=f"ann{number % 3}", parfocal_role="viewer"))

    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


def from_now(claims: dict[str, Any]) -> dict[str, Any]:
    """Claims with their numbers, which are seconds from now, as points in time."""
    now = int(time.time())
    return {name: now + each if isinstance(each, int) else each for name, each in claims.items()}


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "another"}, "ERROR_REASON_TOKEN_INVALID"),
        ({"aud": ["another", "third"]}, "ERROR_REASON_TOKEN_INVALID"),
        ({"aud": None}, "ERROR_REASON_TOKEN_INVALID"),
        ({"iss": "https://elsewhere.example"}, "ERROR_REASON_TOKEN_INVALID"),
        ({"iss": None}, "ERROR_REASON_TOKEN_INVALID"),
        ({"exp": -31}, "ERROR_REASON_TOKEN_EXPIRED"),
        ({"exp": None}, "ERROR_REASON_TOKEN_INVALID"),
        ({"exp": "tomorrow"}, "ERROR_REASON_TOKEN_INVALID"),
        ({"nbf": 300}, "ERROR_REASON_TOKEN_INVALID"),
        ({"iat": 300}, "ERROR_REASON_TOKEN_INVALID"),
        ({"sub": None}, "ERROR_REASON_TOKEN_INVALID"),
        ({"sub": ""}, "ERROR_REASON_TOKEN_INVALID"),
        ({"sub": "a\nb"}, "ERROR_REASON_TOKEN_INVALID"),
        ({"sub": "import/a"}, "ERROR_REASON_TOKEN_INVALID"),
        ({"sub": "a" * 201}, "ERROR_REASON_TOKEN_INVALID"),
    ],
    ids=range(15),
)
def test_a_token_that_does_not_fit_lets_nobody_in(
    ask: Ask, issuer: TokenIssuer, claims: dict[str, Any], reason: str
) -> None:
    assert refusal(ask, issuer.token(parfocal_role="admin", **from_now(claims))) == reason


@pytest.mark.parametrize(
    "claims",
    [{"exp": -1}, {"nbf": 5}, {"aud": ["another", AUDIENCE]}],
    ids=["exp", "nbf", "aud"],
)
def test_clocks_may_differ_a_little_and_audiences_be_several(
    ask: Ask, issuer: TokenIssuer, claims: dict[str, Any]
) -> None:
    assert ask(issuer.token(parfocal_role="viewer", **from_now(claims))) == "ann VIEWER"


def test_a_token_that_somebody_else_signed_lets_nobody_in(ask: Ask, issuer: TokenIssuer) -> None:
    forged = issuer.token(key=rsa_key("first"), parfocal_role="admin")

    assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"


def test_a_token_that_was_changed_lets_nobody_in(ask: Ask, issuer: TokenIssuer) -> None:
    head, body, signature = issuer.token(parfocal_role="viewer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = part({**claims, "parfocal_role": "admin"})

    assert refusal(ask, f"{head}.{changed}.{signature}") == "ERROR_REASON_TOKEN_INVALID"


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_a_token_without_a_signature_lets_nobody_in(
    ask: Ask, issuer: TokenIssuer, algorithm: str
) -> None:
    body = issuer.token(parfocal_role="admin").split(".")[1]

    for signature in ("", "AAAA"):
        token = f"{part({'alg': algorithm, 'kid': 'first'})}.{body}.{signature}"
        assert refusal(ask, token) == "ERROR_REASON_TOKEN_INVALID"


@pytest.mark.parametrize("form", ["pem", "der", "json"])
def test_the_public_key_is_no_secret_to_sign_with(ask: Ask, issuer: TokenIssuer, form: str) -> None:
    public = issuer.keys[0]
    texts = {
        "pem": public.as_pem(private=False),
        "der": public.as_der(private=False),
        "json": json.dumps(public.as_dict(private=False)).encode(),
    }
    # By hand, for the library refuses to sign with a public key.
    body = issuer.token(parfocal_role="admin").split(".")[1]
    signed = f"{part({'alg': 'HS256', 'kid': 'first'})}.{body}"
    signature = hmac.digest(texts[form], signed.encode(), "sha256")
    forged = f"{signed}.{part_of_bytes(signature)}"

    assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"


def part_of_bytes(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_symmetric_key_in_the_issuers_document_checks_nothing(
    ask: Ask, issuer: TokenIssuer
) -> None:
    secret = OctKey.import_key({"kty": "oct", "k": part_of_bytes(b"x" * 32), "kid": "shared"})
    document = {"keys": [*issuer.jwks()["keys"], secret.as_dict(private=True)]}
    issuer.documents["/keys"] = (200, json.dumps(document).encode())
    claims = json.loads(base64.urlsafe_b64decode(issuer.token().split(".")[1] + "=="))
    forged = jwt.encode({"alg": "HS256", "kid": "shared"}, claims, secret, algorithms=["HS256"])

    assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"
    assert ask(issuer.token(parfocal_role="viewer")) == "ann VIEWER"


@pytest.mark.parametrize("header", [{"alg": "ES256"}, {"alg": "PS256"}, {"alg": "RS512"}])
def test_an_algorithm_that_the_key_is_not_for_lets_nobody_in(
    ask: Ask, issuer: TokenIssuer, header: dict[str, str]
) -> None:
    _, body, signature = issuer.token(parfocal_role="admin").split(".")

    forged = f"{part({**header, 'kid': 'first'})}.{body}.{signature}"

    assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"


def test_a_key_that_comes_with_the_token_or_lies_elsewhere_is_not_looked_at(
    ask: Ask, issuer: TokenIssuer
) -> None:
    mine = rsa_key("mine")
    header = {"jwk": mine.as_dict(private=False), "jku": "https://127.0.0.1:9/keys"}

    forged = issuer.token(key=mine, header=header, parfocal_role="admin")

    assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "..",
        "e30.e30.",
        f"{part({'alg': 'RS256', 'kid': 7})}.e30.AAAA",
        f"{part({'alg': 'RS256', 'kid': 'first'})}.AAAA.AAAA",
        f"{part({'alg': 'RS256', 'kid': 'first', 'crit': ['b64'], 'b64': False})}.e30.AAAA",
        f"{'[' * 3000}.e30.AAAA",
        "x" * 5000 + ".e30.AAAA",
        "one.two",
        "one.two.three.four.five",
    ],
    ids=range(10),
)
def test_what_is_no_token_lets_nobody_in(ask: Ask, token: str) -> None:
    assert refusal(ask, token) == "ERROR_REASON_TOKEN_INVALID"


def test_new_keys_count_at_once_and_old_ones_no_more(ask: Ask, issuer: TokenIssuer) -> None:
    old = issuer.token(parfocal_role="viewer")
    assert ask(old)

    issuer.keys = [rsa_key("second")]

    assert ask(issuer.token(sub="bob", parfocal_role="viewer")) == "bob VIEWER"
    assert refusal(ask, old) == "ERROR_REASON_TOKEN_INVALID"


def test_a_key_that_is_replaced_under_the_same_id_counts_no_more_once_it_is_seen(
    ask: Ask, issuer: TokenIssuer
) -> None:
    old = issuer.token(parfocal_role="viewer")
    assert ask(old)

    issuer.keys = [rsa_key("first"), rsa_key("second")]
    assert ask(issuer.token(sub="bob", parfocal_role="viewer")) == "bob VIEWER"

    assert refusal(ask, old) == "ERROR_REASON_TOKEN_INVALID"


def test_unknown_keys_do_not_make_the_server_flood_the_issuer(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer
) -> None:
    calm = replace(trusting, oidc=replace(trusting.oidc, refresh_seconds=600))
    with (
        serving_in_thread([echo.service()], calm, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        ask = asking(channel)
        for number in range(20):
            forged = issuer.token(key=ec_key(f"unknown{number}"))
            assert refusal(ask, forged) == "ERROR_REASON_TOKEN_INVALID"

    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


def test_while_the_issuer_is_down_known_keys_count_and_unknown_ones_may_come_later(
    ask: Ask, issuer: TokenIssuer
) -> None:
    assert ask(issuer.token(parfocal_role="viewer"))
    issuer.stop()

    assert ask(issuer.token(sub="bob", parfocal_role="viewer")) == "bob VIEWER"
    with pytest.raises(DomainError) as caught:
        ask(issuer.token(key=rsa_key("second"), parfocal_role="viewer"))
    assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"
    assert caught.value.metadata == {"service": "oidc"}


def test_an_issuer_that_does_not_answer_keeps_nobody_else_waiting(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer, tmp_path: Path
) -> None:
    token = write_token(tmp_path / "tokens", name="bob", role=Role.VIEWER)
    both = replace(trusting, tokens_file=str(tmp_path / "tokens"))
    issuer.silent.set()
    waited: list[DomainError] = []
    with (
        serving_in_thread([echo.service()], both, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        ask = asking(channel)

        def wait() -> None:
            try:
                ask(issuer.token(parfocal_role="viewer"))
            except DomainError as error:
                waited.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert issuer.asked.wait(20)

        begin = time.monotonic()
        answers = {ask(token) for _ in range(50)}
        seconds = time.monotonic() - begin
        assert not waited
        issuer.stop()
        waiting.join()

    assert answers == {"bob VIEWER"}
    assert seconds < 2
    assert [error.reason for error in waited] == ["ERROR_REASON_DEPENDENCY_UNAVAILABLE"]


def test_a_server_starts_while_the_issuer_is_down_and_takes_its_tokens_later(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer
) -> None:
    place = "/.well-known/openid-configuration"
    issuer.documents[place] = (503, b"")
    with (
        serving_in_thread([echo.service()], trusting, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        ask = asking(channel)
        token = issuer.token(parfocal_role="viewer")
        assert refusal(ask, token) == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"

        del issuer.documents[place]

        assert ask(token) == "ann VIEWER"


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/.well-known/openid-configuration", 200, b"not json"),
        ("/.well-known/openid-configuration", 200, b"[]"),
        ("/.well-known/openid-configuration", 200, b'{"issuer": "https://elsewhere.example"}'),
        ("/.well-known/openid-configuration", 302, b""),
        ("/keys", 200, b'{"keys": 3}'),
        ("/keys", 200, b"[" * 100_000),
        ("/keys", 200, b" " * (2 << 20)),
        ("/keys", 404, b""),
        ("/keys", 302, b""),
    ],
)
def test_a_document_that_is_none_is_as_good_as_no_answer(
    ask: Ask, issuer: TokenIssuer, path: str, status: int, body: bytes
) -> None:
    issuer.documents[path] = (status, body)

    assert refusal(ask, issuer.token()) == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


def test_keys_that_are_none_are_passed_over(ask: Ask, issuer: TokenIssuer) -> None:
    strange: list[Any] = [7, {}, {"kty": "XX"}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-0"}]
    document = {"keys": [*strange, *issuer.jwks()["keys"]]}
    issuer.documents["/keys"] = (200, json.dumps(document).encode())

    assert ask(issuer.token(parfocal_role="viewer")) == "ann VIEWER"


def test_places_without_tls_are_not_asked(ask: Ask, issuer: TokenIssuer) -> None:
    about = {"issuer": issuer.url, "jwks_uri": issuer.url.replace("https", "http") + "/keys"}
    place = "/.well-known/openid-configuration"
    issuer.documents[place] = (200, json.dumps(about).encode())

    assert refusal(ask, issuer.token()) == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"
    assert issuer.requests == [place]


def test_an_issuer_whose_certificate_nobody_vouches_for_is_not_believed(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer, tmp_path: Path
) -> None:
    other = Authority(tmp_path, name="other")
    misled = replace(trusting, oidc=replace(trusting.oidc, ca_file=other.ca_file))
    with (
        serving_in_thread([echo.service()], misled, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        assert refusal(asking(channel), issuer.token()) == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


def test_tokens_of_the_file_and_of_the_issuer_work_side_by_side(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer, tmp_path: Path
) -> None:
    token = write_token(tmp_path / "tokens", name="loop", role=Role.CURATOR)
    both = replace(trusting, tokens_file=str(tmp_path / "tokens"))
    with (
        serving_in_thread([echo.service()], both, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        ask = asking(channel)
        found = [ask(token), ask(issuer.token(parfocal_role="viewer"))]

        assert found == ["loop CURATOR", "ann VIEWER"]
        assert refusal(ask, "neither") == "ERROR_REASON_TOKEN_INVALID"


def test_claims_may_have_other_names(
    echo: Any, trusting: ServerConfig, issuer: TokenIssuer
) -> None:
    settings = replace(
        trusting.oidc, name_claim="email", role_claim="realm.roles", projects_claim="https://x/p"
    )
    with (
        serving_in_thread(
            [echo.service()], replace(trusting, oidc=settings), rules=RULES
        ) as running,
        sync_channel(running.address) as channel,
    ):
        ask = asking(channel)
        claims: dict[str, Any] = {"email": "ann@lab.org", "realm": {"roles": ["viewer"]}}

        assert ask(issuer.token(**claims)) == "ann@lab.org VIEWER"
        others: dict[str, Any] = {"email": "bob@lab.org", "https://x/p": {"a": "curator"}}
        assert ask(issuer.token(**others)) == "bob@lab.org CURATOR"
        unproven = issuer.token(**claims, email_verified=False)
        assert refusal(ask, unproven) == "ERROR_REASON_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"issuer": "http://127.0.0.1"}, "must begin with https"),
        ({"audience": ""}, "PARFOCAL_OIDC_AUDIENCE must be set"),
        ({"ca_file": "/none"}, "cannot read /none"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(
    trusting: ServerConfig, settings: dict[str, Any], message: str
) -> None:
    wrong = replace(trusting, oidc=replace(trusting.oidc, **settings))

    with pytest.raises(ConfigError, match=message), serving_in_thread([], wrong):
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_keys_that_are_old_are_fetched_anew_while_they_go_on_to_count(
    issuer: TokenIssuer, authority: Authority
) -> None:
    clock = Clock()
    old = issuer.keys[0].thumbprint()

    async def use() -> list[str | None]:
        keys = IssuerKeys(issuer.url, ca_file=authority.ca_file, old_seconds=60, clock=clock)
        thumbprints = []

        async def look() -> None:
            key = await keys.find("first")
            thumbprints.append(key.thumbprint() if key else None)

        await look()
        issuer.keys = [rsa_key("second")]
        clock.now += 59
        await look()
        clock.now += 1
        await look()
        # Whoever needs a new key waits for the fetch that is under way.
        assert await keys.find("second") is not None
        await look()
        keys.close()
        return thumbprints

    assert asyncio.run(use()) == [old, old, old, None]


def test_who_waits_for_the_issuer_is_let_go_when_the_server_stops(
    issuer: TokenIssuer, authority: Authority
) -> None:
    issuer.silent.set()

    async def use() -> None:
        keys = IssuerKeys(issuer.url, ca_file=authority.ca_file)
        waiting = asyncio.ensure_future(keys.find("first"))
        await asyncio.to_thread(issuer.asked.wait, 20)
        keys.close()
        await asyncio.wait_for(waiting, 5)

    with pytest.raises(Unavailable):
        asyncio.run(use())
    issuer.stop()


def test_tokens_that_were_checked_are_not_remembered_without_bound(
    issuer: TokenIssuer, authority: Authority
) -> None:
    settings = OidcSettings(issuer=issuer.url, audience=AUDIENCE)
    keys = IssuerKeys(issuer.url, ca_file=authority.ca_file)
    tokens = OidcTokens(settings, keys=keys, most_remembered=3)

    async def use() -> list[str]:
        names = [f"ann{number}" for number in range(5)]
        found = [await tokens.authenticate(issuer.token(sub=name)) for name in names]
        return [account.name for account in found if account]

    assert asyncio.run(use()) == [f"ann{number}" for number in range(5)]
    assert len(tokens) == 3
    tokens.close()
