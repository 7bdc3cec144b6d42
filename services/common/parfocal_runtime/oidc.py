"""Callers who show a JSON Web Token of an OpenID Connect issuer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jws import JWSRegistry

from parfocal_runtime.config import ConfigError, OidcSettings
from parfocal_runtime.errors import DomainError, Unauthenticated
from parfocal_runtime.issuer_keys import IssuerKeys, PublicKey
from parfocal_runtime.layout import checked_name
from parfocal_runtime.logs import get_logger
from parfocal_runtime.principals import RESERVED_PREFIX, Account, Role

_log = get_logger(__name__)
# Only algorithms with a public key: with any other, that key would be the secret.
_ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "Ed25519",
)
_LEEWAY_SECONDS = 30
_LONGEST_TOKEN = 16_384
_LONGEST_NAME = 200
_MOST_PROJECTS = 1000


@dataclass(frozen=True)
class _Verified:
    account: Account
    expires: float
    generation: int


class OidcTokens:
    """Owners of the tokens that an issuer signs, by their claims.

    A token counts if the issuer signed it, with a public key, for this audience, and the present
    time is within its bounds by half a minute. One that was checked is remembered until it ends
    or the keys change.

    Args:
        settings: The issuer, and which claims say what.
        keys: The issuer's keys; None fetches them.
        clock: Seconds since 1970.
        most_remembered: Tokens that are remembered; of more, those not seen for longest are not.

    Raises:
        ConfigError: If the settings cannot be used.
    """

    def __init__(
        self,
        settings: OidcSettings,
        *,
        keys: IssuerKeys | None = None,
        clock: Callable[[], float] = time.time,
        most_remembered: int = 4096,
    ) -> None:
        if not settings.audience:
            raise ConfigError("PARFOCAL_OIDC_AUDIENCE must be set where an issuer is")
        self._settings = settings
        self._keys = keys or IssuerKeys(
            settings.issuer, ca_file=settings.ca_file, pause_seconds=settings.refresh_seconds
        )
        self._clock = clock
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
        )
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()
        self._most_remembered = most_remembered

    def __len__(self) -> int:
        return len(self._remembered)

    async def authenticate(self, token: str) -> Account | None:
        """Return the owner of `token`, None if it is no token of the issuer.

        Raises:
            Unauthenticated: If it was one and has ended (`ERROR_REASON_TOKEN_EXPIRED`), or names
                nobody (`ERROR_REASON_TOKEN_INVALID`).
            Unavailable: If the issuer's keys are needed and cannot be had.
        """
        if token.count(".") != 2 or len(token) > _LONGEST_TOKEN or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()
        known = self._recalled(digest)
        if known is not None:
            self._keys.keep_fresh()
            return known.account
        key_id = _key_id(token)
        key = None if key_id is None else await self._keys.find(key_id)
        if key is None:
            return None
        generation = self._keys.generation
        claims = self._checked(token, key)
        if claims is None:
            return None
        verified = _Verified(self._account(claims), float(claims["exp"]), generation)
        self._remember(digest, verified)
        return verified.account

    def close(self) -> None:
        """Fetch no more keys."""
        self._keys.close()

    def _recalled(self, digest: bytes) -> _Verified | None:
        known = self._remembered.get(digest)
        if known is None:
            return None
        if known.generation != self._keys.generation or known.expires <= self._clock():
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return known

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._remembered[digest] = verified
        if len(self._remembered) > self._most_remembered:
            self._remembered.popitem(last=False)

    def _checked(self, token: str, key: PublicKey) -> dict[str, Any] | None:
        """Return the claims of a token that `key` signed, None if it did not or they do not fit."""
        registry = JWSRegistry(algorithms=_algorithms_of(key), strict_check_header=False)
        registry.max_header_length = _LONGEST_TOKEN
        try:
            claims = jwt.decode(token, key, registry=registry).claims
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated(
                "ERROR_REASON_TOKEN_EXPIRED", "the token has expired; get a new one"
            ) from None
        # What a token may hold is endless, and so is what a library may raise over it.
        except (
            JoseError,
            ValueError,
            TypeError,
            KeyError,
            ArithmeticError,
            RecursionError,
        ) as error:
            _log.info("token of the issuer refused", cause=type(error).__name__)
            return None
        return claims

    def _account(self, claims: Mapping[str, Any]) -> Account:
        settings = self._settings
        name = _claim(claims, settings.name_claim)
        is_name = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
        # Whoever may choose an address could choose somebody else's.
        is_unproven = settings.name_claim == "email" and claims.get("email_verified") is False
        if not is_name or is_unproven or str(name).startswith(RESERVED_PREFIX):
            raise Unauthenticated(
                "ERROR_REASON_TOKEN_INVALID",
                f"the token does not say who its owner is, in the claim {settings.name_claim}",
            )
        return Account(
            str(name),
            max(_roles(_claim(claims, settings.role_claim)), default=None),
            dict(_projects(_claim(claims, settings.projects_claim))),
        )


def _key_id(token: str) -> str | None:
    """Return the key that a token names, empty where it names none, None if it is no token."""
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("alg") not in _ALGORITHMS:
        return None
    key_id = header.get("kid", "")
    return key_id if isinstance(key_id, str) else None


def _algorithms_of(key: PublicKey) -> list[str]:
    own = key.get("alg")
    return [each for each in _ALGORITHMS if own in (None, each)]


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim; `a.b` is the member `b` of the claim `a` where no claim has that name."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _roles(value: Any) -> Iterator[Role]:
    """Yield the roles among one text or several; an issuer has words of its own as well."""
    for each in value if isinstance(value, list) else [value]:
        try:
            yield Role.parse(each)
        except ValueError:
            continue


def _projects(value: Any) -> Iterator[tuple[str, Role]]:
    """Yield projects and roles of `{"vnc": "curator"}` or `["vnc:curator"]`."""
    for project, given in list(_pairs(value))[:_MOST_PROJECTS]:
        try:
            checked_name(project, field="project")
        except DomainError:
            continue
        role = max(_roles(given), default=None)
        if role is not None:
            yield project, role


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return value.items()
    texts = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    # The last colon: names of projects have none.
    return [(project, role) for project, _, role in (each.rpartition(":") for each in texts)]
