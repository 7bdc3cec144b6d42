"""Who is calling: bearer tokens, roles, and the caller of the running request."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import Unauthenticated
from parfocal_runtime.logs import get_logger

_log = get_logger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Role(IntEnum):
    """What a caller may do; each role may do all that the lower ones may."""

    VIEWER = 1
    ANNOTATOR = 2
    CURATOR = 3
    ADMIN = 4

    @classmethod
    def parse(cls, name: str) -> Role:
        """Return the role called `name`, in lower case.

        Raises:
            ValueError: If there is none.
        """
        for role in cls:
            if role.name.lower() == name:
                return role
        raise ValueError(f"a role is viewer, annotator, curator or admin, got {name!r}")


@dataclass(frozen=True)
class Principal:
    """Somebody who calls: the name that stands on their labels, and their role."""

    name: str
    role: Role


class Authenticator(Protocol):
    """Finds out who a bearer token belongs to."""

    def authenticate(self, token: str) -> Principal | None:
        """Return the owner of `token`, or None if nobody owns it."""
        ...


_current: ContextVar[Principal] = ContextVar("parfocal_principal")


def principal() -> Principal:
    """Return the caller of the running request.

    Raises:
        Unauthenticated: Outside a request, or in one that needs no caller
            (`ERROR_REASON_TOKEN_MISSING`).
    """
    caller = _current.get(None)
    if caller is None:
        raise Unauthenticated("ERROR_REASON_TOKEN_MISSING", "nobody is calling")
    return caller


@contextmanager
def acting_as(caller: Principal) -> Iterator[None]:
    """Make `caller` the principal inside the block."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)


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


class TokenFile:
    """Callers listed in a file, one JSON object a line: `name`, `sha256` of the token, `role`.

    Empty lines and lines that start with `#` are skipped. The file is read again when it
    changes; if it is then malformed the callers that were known stay known.

    Raises:
        ConfigError: If the file is missing or malformed at first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen = self._stamp()
        self._callers = _read_callers(self._path)

    def authenticate(self, token: str) -> Principal | None:
        """Return the owner of `token`, or None if nobody owns it."""
        self._refresh()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        # Finding by digest tells by its duration nothing that helps to guess a token.
        found = self._callers.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._callers = _read_callers(self._path)
        except ConfigError as error:
            _log.error("tokens file not read again", problem=str(error))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def write_token(tokens_file: str | os.PathLike[str], *, name: str, role: Role) -> str:
    """Give `name` a fresh token in `tokens_file`, replacing an older one, and return it.

    The file is made if it is missing; only its owner may read it.
    """
    path, token = Path(tokens_file), secrets.token_urlsafe(32)
    line = json.dumps(
        {
            "name": name,
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "role": role.name.lower(),
        }
    )
    kept = [old for old in _lines(path) if json.loads(old)["name"] != name] if path.exists() else []
    write_secret(path, "\n".join([*kept, line, ""]))
    return token


def write_secret(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to a file that only its owner may read; readers see the old or the new."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(target)


def _read_callers(path: Path) -> dict[str, tuple[str, Principal]]:
    try:
        lines = _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the tokens file {path}: {error}") from error
    callers = {}
    for number, line in enumerate(lines, start=1):
        digest, caller = _parse(line, f"entry {number} of the tokens file {path}")
        callers[digest] = (digest, caller)
    return callers


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _parse(line: str, where: str) -> tuple[str, Principal]:
    # The text of a line stays out of the messages: someone may have put the token itself there.
    try:
        entry = json.loads(line)
        name, digest, role = entry["name"], entry["sha256"], Role.parse(entry["role"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{where} must be a JSON object with name, sha256 and role (viewer, annotator, "
            "curator or admin)"
        ) from error
    if not isinstance(name, str) or not name or not isinstance(digest, str):
        raise ConfigError(f"{where} must have a name and a sha256, both text")
    if not _SHA256.fullmatch(digest):
        raise ConfigError(f"{where} must have a sha256 of 64 lower-case hex digits")
    return digest, Principal(name, role)
