"""Which names can be paths of a store, and which of them lead out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from parfocal_runtime.errors import InvalidInput, PermissionDenied

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CHARACTERS = "has a control character, a backslash or a lone surrogate"
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|[\ud800-\udfff]")
# The longest key that S3 takes.
_LONGEST = 1024
# The longest name that common file systems take, less room for the suffix of a temporary file.
_LONGEST_PART = 200


def checked_path(path: str) -> str:
    """Return `path` if it names something inside any root.

    Raises:
        InvalidInput: If it is ill-formed (`ERROR_REASON_INVALID_URI`).
        PermissionDenied: If it is absolute or has a `..` part (`ERROR_REASON_URI_OUTSIDE_ROOTS`).
    """
    return _checked(path, uri=path, field="path")


def checked_prefix(prefix: str) -> str:
    """Return the folder `prefix` without a trailing slash; empty is the root itself."""
    folder = prefix.removesuffix("/")
    return checked_path(folder) if folder else ""


def path_from_uri(uri: str, roots: Iterable[str], *, field: str = "uri") -> str:
    """Return the path inside one of `roots` of a relative path or an absolute URI.

    Raises:
        InvalidInput: If `uri` is ill-formed or is a root itself (`ERROR_REASON_INVALID_URI`).
        PermissionDenied: If it is in none of the roots (`ERROR_REASON_URI_OUTSIDE_ROOTS`).
    """
    if not _SCHEME.match(uri):
        return _checked(uri.removesuffix("/"), uri=uri, field=field)
    place = _place(uri, field)
    for root in roots:
        scheme, host, folder = _place(root, field)
        inside = folder + "/" if folder else ""
        if place[:2] == (scheme, host) and place[2].startswith(inside):
            return _checked(place[2].removeprefix(inside), uri=uri, field=field)
        if place == (scheme, host, folder):
            raise _invalid(field, uri, "names the root itself")
    raise _outside(uri)


def _place(uri: str, field: str) -> tuple[str, str, str]:
    # The parser drops line breaks and tabs without a word.
    if _FORBIDDEN.search(uri):
        raise _invalid(field, uri, _CHARACTERS)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _invalid(field, uri, "is not a URI") from error
    if parts.query or parts.fragment:
        raise _invalid(field, uri, "has a query or a fragment")
    host = "" if parts.scheme == "file" and parts.netloc == "localhost" else parts.netloc
    path = unquote(parts.path) if parts.scheme == "file" else parts.path
    return parts.scheme, host, path.strip("/")


def _checked(path: str, *, uri: str, field: str) -> str:
    if not path:
        raise _invalid(field, uri, "is empty")
    if _FORBIDDEN.search(path):
        raise _invalid(field, uri, _CHARACTERS)
    if path.startswith("/"):
        raise _outside(uri)
    parts = path.split("/")
    if ".." in parts:
        raise _outside(uri)
    if "" in parts or "." in parts:
        raise _invalid(field, uri, "has an empty or '.' part")
    if len(path.encode()) > _LONGEST or max(len(part.encode()) for part in parts) > _LONGEST_PART:
        raise _invalid(field, uri[:64], "is too long")
    return path


def _invalid(field: str, uri: str, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_URI",
        f"{field} {uri!r} {fault}",
        field=field,
        uri=_printable(uri),
    )


def _outside(uri: str) -> PermissionDenied:
    return PermissionDenied(
        "ERROR_REASON_URI_OUTSIDE_ROOTS",
        f"{_printable(uri)!r} is outside the object store",
        uri=_printable(uri),
    )


def _printable(uri: str) -> str:
    # A lone surrogate cannot be encoded into an answer.
    return uri.encode("utf-8", "backslashreplace").decode()
