"""How callers prove who they are: bearer tokens and certificates listed in a file."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import DomainError, Unauthenticated
from parfocal_runtime.layout import checked_name
from parfocal_runtime.logs import get_logger
from parfocal_runtime.principals import (
    RESERVED_PREFIX,
    Account,
    Principal,
    Role,
    acting_as,
    principal,
)

__all__ = [
    "Account",
    "Authenticator",
    "Principal",
    "Role",
    "TokenFile",
    "acting_as",
    "bearer_token",
    "principal",
    "write_secret",
    "write_token",
]

_log = get_logger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CERTIFICATE = re.compile(r"(uri|dns|email|cn):\S(.*\S)?", re.IGNORECASE)
_KEYS = frozenset({"name", "sha256", "certificate", "role", "projects", "limited", "note"})


class Authenticator(Protocol):
    """Finds out who a bearer token belongs to."""

    async def authenticate(self, token: str) -> Account | None:
        """Return the owner of `token`, or None if nobody owns it.

        Raises:
            Unavailable: If that cannot be told at present.
        """
        ...


def bearer_token(metadata: Mapping[str, str]) -> str | None:
    """Return the token of an `authorization: Bearer ...` entry, None where there is no entry.

    Raises:
        Unauthenticated: If the entry is of another kind (`ERROR_REASON_TOKEN_INVALID`).
    """
    entry = metadata.get("authorization")
    if entry is None:
        return None
    scheme, _, token = entry.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "ERROR_REASON_TOKEN_INVALID", "authorization must be 'Bearer <token>'"
        )
    return token.strip()


@dataclass(frozen=True)
class _Listed:
    """What a file says: owners of tokens by digest, and of certificates by what names them."""

    tokens: Mapping[str, tuple[str, Account]]
    certificates: Mapping[str, Account]


class TokenFile:
    """Callers listed in a file, one JSON object a line.

    An entry has a `name`, the `sha256` of a token, a `certificate` (such as `URI:spiffe://lab/ann`,
    `DNS:loop.lab`, `email:ann@lab`, `CN:ann`) or both, a `role` for everywhere, roles for single
    `projects` by name, or both, and `"limited": false` where the limit on calls does not count.

    Empty lines and lines that start with `#` are skipped. The file is read again when it
    changes; if it is then malformed the callers that were known stay known.

    Raises:
        ConfigError: If the file is missing or malformed at first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen = self._stamp()
        self._listed = _read(self._path)

    async def authenticate(self, token: str) -> Account | None:
        """Return the owner of `token`, or None if nobody owns it."""
        self._refresh()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        # Finding by digest tells by its duration nothing that helps to guess a token.
        found = self._listed.tokens.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def owner_of_certificate(self, identities: Iterable[str]) -> Account | None:
        """Return the owner of a certificate, or None if nobody owns it.

        Args:
            identities: What the certificate names, such as `dns:loop.lab`; the kind in lower case.
        """
        self._refresh()
        owners = (self._listed.certificates.get(identity) for identity in identities)
        return next((owner for owner in owners if owner is not None), None)

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._listed = _read(self._path)
        except ConfigError as error:
            _log.error("tokens file not read again", problem=str(error))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def write_token(
    tokens_file: str | os.PathLike[str],
    *,
    name: str,
    role: Role | None = None,
    projects: Mapping[str, Role] | None = None,
    limited: bool = True,
) -> str:
    """Give `name` a fresh token in `tokens_file`, replacing an older entry, and return it.

    The file is made if it is missing; only its owner may read it. Otherwise its mode and owner
    stay, as do comments, certificates, and entries of others.

    Raises:
        ConfigError: If the entry could not be read again, such as one without any role.
    """
    path, token = Path(tokens_file), secrets.token_urlsafe(32)
    entry: dict[str, Any] = {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest()}
    if role is not None:
        entry["role"] = role.name.lower()
    if projects:
        entry["projects"] = {each: given.name.lower() for each, given in projects.items()}
    if not limited:
        entry["limited"] = False
    _account(entry, f"the entry of {name}")
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for old in before if (line := _without_token(old, name)) is not None]
    write_secret(path, "\n".join([*kept, json.dumps(entry), ""]), as_before=True)
    return token


def _without_token(line: str, name: str) -> str | None:
    """Return a line of a tokens file without a token of `name`; None if nothing is left of it."""
    if not line.strip() or line.strip().startswith("#"):
        return line
    entry = json.loads(line)
    if entry.get("name") != name or "sha256" not in entry:
        return line
    if "certificate" not in entry:
        return None
    return json.dumps({key: value for key, value in entry.items() if key != "sha256"})


def write_secret(path: str | os.PathLike[str], text: str, *, as_before: bool = False) -> None:
    """Write `text` to a file that only its owner may read; readers see the old or the new.

    Args:
        path: The file.
        text: What it holds.
        as_before: Whether a file that is there keeps its mode and its owner.
    """
    target = Path(path)
    old = target.stat() if as_before and target.exists() else None
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        if old is not None:
            os.fchmod(handle, stat.S_IMODE(old.st_mode))
            with suppress(PermissionError):
                os.fchown(handle, old.st_uid, old.st_gid)
    temporary.replace(target)


def _read(path: Path) -> _Listed:
    try:
        lines = _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the tokens file {path}: {error}") from error
    tokens: dict[str, tuple[str, Account]] = {}
    certificates: dict[str, Account] = {}
    for number, line in enumerate(lines, start=1):
        where = f"entry {number} of the tokens file {path}"
        entry = _entry(line, where)
        account = _account(entry, where)
        if digest := _digest(entry, where):
            tokens[digest] = (digest, account)
        if certificate := _certificate(entry, where):
            certificates[certificate] = account
        if not digest and not certificate:
            raise ConfigError(f"{where} must have a sha256 or a certificate")
    return _Listed(tokens, certificates)


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# The text of an entry stays out of the messages: someone may have put the token itself there.
def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a JSON object")
    if entry.keys() - _KEYS:
        raise ConfigError(f"{where} may have {', '.join(sorted(_KEYS))} and nothing else")
    return entry


def _account(entry: dict[str, Any], where: str) -> Account:
    name, limited = entry.get("name"), entry.get("limited", True)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where} must have a name")
    if name.startswith(RESERVED_PREFIX):
        raise ConfigError(f"{where} must have a name that does not begin with {RESERVED_PREFIX}")
    if not isinstance(limited, bool):
        raise ConfigError(f"{where} must have true or false as limited")
    try:
        role = Role.parse(entry["role"]) if "role" in entry else None
        projects = {
            checked_name(project, field="project"): Role.parse(given)
            for project, given in entry.get("projects", {}).items()
        }
    except (ValueError, TypeError, AttributeError, DomainError):
        raise ConfigError(
            f"{where} must have a role (viewer, annotator, curator or admin), or projects with a "
            "role for each by its name"
        ) from None
    if role is None and not projects:
        raise ConfigError(f"{where} must have a role, or projects with roles")
    return Account(name, role, projects, limited)


def _digest(entry: dict[str, Any], where: str) -> str:
    digest = entry.get("sha256", "")
    if not isinstance(digest, str) or ("sha256" in entry and not _SHA256.fullmatch(digest)):
        raise ConfigError(f"{where} must have a sha256 of 64 lower-case hex digits")
    return digest


def _certificate(entry: dict[str, Any], where: str) -> str:
    identity = entry.get("certificate", "")
    if not isinstance(identity, str) or (
        "certificate" in entry and not _CERTIFICATE.fullmatch(identity)
    ):
        raise ConfigError(f"{where} must have a certificate such as 'URI:...', 'DNS:...', 'CN:...'")
    kind, _, value = identity.partition(":")
    return f"{kind.lower()}:{value}" if value else ""
