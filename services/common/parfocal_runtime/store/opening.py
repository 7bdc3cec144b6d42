"""Which store a URI means."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store.interface import ObjectStore
from parfocal_runtime.store.local import LocalStore
from parfocal_runtime.store.s3 import S3Settings, S3Store


def open_store(uri: str, *, s3: S3Settings | None = None) -> ObjectStore:
    """Open the store at `uri`: `file:///folder` or `s3://bucket/prefix`.

    A folder that is missing is made. A bucket must exist.

    Raises:
        InvalidInput: If the URI is neither (`ERROR_REASON_INVALID_URI`).
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return LocalStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc and not parts.query:
        return S3Store(parts.netloc, parts.path.strip("/"), settings=s3 or S3Settings())
    raise InvalidInput(
        "ERROR_REASON_INVALID_URI",
        f"an object store is file:///folder or s3://bucket/prefix, got {uri!r}",
        uri=uri,
    )
