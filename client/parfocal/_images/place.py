"""Folders of Zarr metadata and arrays, on a disk or in a bucket, through tensorstore."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tensorstore as ts

from parfocal._errors import InvalidRequestError, UnavailableError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Statuses of a store that does not answer, or refuses.
_UNREACHABLE = frozenset(
    {"ABORTED", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE"}
)
# A store that refuses connections is given up after 3 to 4 seconds, one that takes them and says
# nothing after 24, one that nothing comes back from after 16; else it would be half an hour.
_RETRIES = {"max_retries": 3, "initial_delay": "400ms", "max_delay": "2s"}
_SILENCE_SECONDS = 5
_CONNECT_SECONDS = 3


@dataclass(frozen=True)
class Place:
    """A folder: the root of an object store, or something below it.

    Attributes:
        uri: `file:///folder` or `s3://bucket/prefix`, without a trailing slash.
        spec: tensorstore's key-value store of the folder; its `path` ends in a slash.
    """

    uri: str
    spec: Mapping[str, Any]

    def below(self, path: str) -> Place:
        """Return the folder `path` below this one."""
        return Place(
            f"{self.uri}/{path}", {**self.spec, "path": f"{self.spec['path']}{path.strip('/')}/"}
        )

    def beside(self, suffix: str) -> Place:
        """Return the folder next to this one whose name ends in `suffix` as well."""
        return Place(
            f"{self.uri}{suffix}", {**self.spec, "path": f"{self.spec['path'][:-1]}{suffix}/"}
        )

    def read(self, name: str) -> bytes | None:
        """Return the file `name`, or None where there is none."""
        with reached(self.uri):
            found = self._opened().read(name).result()
        return bytes(found.value) if found.state == "value" else None

    def names(self) -> list[str]:
        """Return the paths of all files below the folder, sorted."""
        with reached(self.uri):
            return sorted(key.decode() for key in self._opened().list().result())

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the JSON object in the file `name`, or None where there is none.

        Raises:
            ValueError: If it is not a JSON object.
        """
        data = self.read(name)
        if data is None:
            return None
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"{self.uri}/{name} is not a JSON object")
        return document

    def write(self, name: str, data: bytes) -> None:
        """Write the file `name`, over an older one."""
        with reached(self.uri):
            self._opened().write(name, data).result()

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON object to the file `name`, over an older one."""
        self.write(name, json.dumps(document, indent=2).encode())

    def create(self, name: str, data: bytes) -> bool:
        """Write the file `name` only if there is none; return whether this call did.

        Of any number of callers at the same time exactly one gets True.
        """
        with reached(self.uri):
            store = self._opened()
            found = store.read(name).result()
            if found.state == "value":
                return False
            # On S3 it is one conditional PUT.
            written = store.write(name, data, if_equal=found.stamp.generation).result()
        return bool(written.generation)

    def delete(self, name: str, *, holding: bytes) -> None:
        """Delete the file `name` if it holds these bytes."""
        with reached(self.uri):
            store = self._opened()
            found = store.read(name).result()
            if found.state == "value" and bytes(found.value) == holding:
                store.write(name, None, if_equal=found.stamp.generation).result()

    def clear(self) -> None:
        """Delete everything in the folder, its own metadata first: then it is not seen."""
        with reached(self.uri):
            store = self._opened()
            store.write("zarr.json", None).result()
            for deletion in [store.write(key, None) for key in store.list().result()]:
                deletion.result()

    def replace(self, other: Place) -> None:
        """Put this folder, which is then gone, where `other` is.

        On a disk it is renamed. In a bucket each file is copied, the folder's own metadata last.
        """
        if self.spec["driver"] == "file":
            _rename(Path(self.spec["path"]), Path(other.spec["path"]))
            return
        other.clear()
        with reached(self.uri):
            source, target = self._opened(), other._opened()
            for name in sorted(self.names(), key="zarr.json".__eq__):
                target.write(name, source.read(name).result().value).result()
        self.clear()

    def _opened(self) -> ts.KvStore:
        try:
            return ts.KvStore.open(dict(self.spec)).result()
        except ValueError as error:
            raise _unreachable(self.uri, error) from error


@contextmanager
def reached(uri: str) -> Iterator[None]:
    """Tell that a store does not answer or refuses, which tensorstore reports as ValueError.

    Any other ValueError passes.

    Raises:
        UnavailableError: If it does not serve (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
    """
    try:
        yield
    except ValueError as error:
        if str(error).partition(":")[0] not in _UNREACHABLE:
            raise
        raise _unreachable(uri, error) from error


def place(uri: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None) -> Place:
    """Return the folder that a path or a URI (`file://`, `s3://`) names.

    An S3 service is reached as `PARFOCAL_S3_ENDPOINT` (host and port), `PARFOCAL_S3_ACCESS_KEY`,
    `PARFOCAL_S3_SECRET_KEY`, `PARFOCAL_S3_REGION` and `PARFOCAL_S3_SECURE` say; without an access
    key the keys are those that AWS tools find.

    Raises:
        InvalidRequestError: If it is neither (`ERROR_REASON_INVALID_URI`).
    """
    text = os.fspath(uri)
    if not _SCHEME.match(text):
        return _folder(Path(text))
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _folder(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return _bucket(parts.netloc, parts.path.strip("/"), environment or os.environ)
    raise InvalidRequestError(
        f"expected a folder, file:///folder or s3://bucket/prefix, got {text!r}",
        reason="ERROR_REASON_INVALID_URI",
        metadata={"uri": text},
    )


def _folder(path: Path) -> Place:
    # tensorstore takes no path with `..` in it.
    real = Path(os.path.abspath(path))
    return Place(real.as_uri(), {"driver": "file", "path": f"{real}/"})


def _rename(folder: Path, target: Path) -> None:
    # A folder that is not empty cannot be replaced in one step.
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _bucket(bucket: str, prefix: str, environment: Mapping[str, str]) -> Place:
    # Without these each try may take a minute. tensorstore reads them when it first speaks to S3.
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(_SILENCE_SECONDS))
    os.environ.setdefault("TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS", str(_CONNECT_SECONDS))
    secure = environment.get("PARFOCAL_S3_SECURE", "true").lower() not in ("0", "false", "no")
    endpoint = environment.get("PARFOCAL_S3_ENDPOINT", "s3.amazonaws.com")
    spec = {
        "driver": "s3",
        "bucket": bucket,
        "path": f"{prefix}/" if prefix else "",
        "endpoint": f"{'https' if secure else 'http'}://{endpoint}",
        "aws_region": environment.get("PARFOCAL_S3_REGION", "us-east-1"),
        "aws_credentials": _credentials(environment),
        "s3_request_retries": _RETRIES,
    }
    return Place(f"s3://{bucket}/{prefix}".rstrip("/"), spec)


def _unreachable(uri: str, error: ValueError) -> UnavailableError:
    # What follows in brackets is where in tensorstore it was found.
    cause = str(error).partition(" [")[0]
    return UnavailableError(
        f"cannot reach {uri}: {cause}", reason="ERROR_REASON_DEPENDENCY_UNAVAILABLE"
    )


def _credentials(environment: Mapping[str, str]) -> dict[str, Any]:
    access_key = environment.get("PARFOCAL_S3_ACCESS_KEY", "")
    if not access_key:
        return {"type": "default"}
    file = _profile_file(access_key, environment.get("PARFOCAL_S3_SECRET_KEY", ""))
    return {
        "type": "profile",
        "profile": "parfocal",
        "credentials_file": file,
        "config_file": os.devnull,
    }


@cache
def _profile_file(access_key: str, secret_key: str) -> str:
    # tensorstore takes keys from a file only; this one is gone with the process.
    handle, name = tempfile.mkstemp(prefix="parfocal-")
    with os.fdopen(handle, "w") as stream:
        stream.write(
            f"[parfocal]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
        )
    atexit.register(Path(name).unlink, missing_ok=True)
    return name
