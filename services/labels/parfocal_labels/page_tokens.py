"""Page tokens: opaque text that says where the next page of one list begins."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re

from parfocal_labels.fields import whole
from parfocal_labels.paging import Key, PageRequest
from parfocal_runtime.errors import InvalidInput

_DEFAULT_SIZE = 50
_LARGEST_SIZE = 1000
_LARGEST_NUMBER = 2**63 - 1
# What no database keeps.
_UNFIT = re.compile("[\0\ud800-\udfff]")


def page_request(size: int, token: str, *, kinds: tuple[type, ...], scope: object) -> PageRequest:
    """Return what a list request asks for.

    Args:
        size: `page_size`; 0 is 50, what is above 1000 is 1000.
        token: `page_token`.
        kinds: Types of the parts of the list's sort key.
        scope: The method and all its other arguments, which must be those of the page before.

    Raises:
        InvalidInput: If the token is not of this list (`ERROR_REASON_INVALID_PAGE_TOKEN`) or
            the size negative (`ERROR_REASON_INVALID_FIELD`).
    """
    whole(size, "page_size", least=0, most=2**31 - 1)
    wanted = min(size or _DEFAULT_SIZE, _LARGEST_SIZE)
    return PageRequest(wanted, _key(token, kinds=kinds, scope=scope) if token else ())


def page_token(key: Key, *, scope: object) -> str:
    """Return the token of the page that begins after `key`; empty where there is none."""
    if not key:
        return ""
    content = json.dumps([_digest(scope), *key]).encode()
    return base64.urlsafe_b64encode(content).decode()


def _key(token: str, *, kinds: tuple[type, ...], scope: object) -> Key:
    try:
        digest, *key = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _foreign() from error
    if digest != _digest(scope) or len(key) != len(kinds) or not all(map(_fits, key, kinds)):
        raise _foreign()
    return tuple(key)


def _fits(part: object, kind: type) -> bool:
    if type(part) is not kind:
        return False
    if isinstance(part, int):
        return abs(part) <= _LARGEST_NUMBER
    return _UNFIT.search(str(part)) is None


def _digest(scope: object) -> str:
    return hashlib.sha256(repr(scope).encode()).hexdigest()[:16]


def _foreign() -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_PAGE_TOKEN",
        "page_token was not given by this list with these arguments",
        field="page_token",
    )
