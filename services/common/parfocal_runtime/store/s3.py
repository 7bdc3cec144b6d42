"""An object store in a bucket that speaks S3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import urllib3
from minio import Minio
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    IamAwsProvider,
    Provider,
    StaticProvider,
)
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name

from parfocal_runtime.errors import Exhausted, InvalidInput, NotFound, Unavailable
from parfocal_runtime.store.interface import ObjectStat, ObjectStore, Refused
from parfocal_runtime.store.paths import checked_path, checked_prefix
from parfocal_runtime.store.s3_credentials import credentials_spec

_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound"})
_DENIED = "AccessDenied"
_FULL = frozenset({"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull"})
_BAD_NAME = frozenset(
    {"KeyTooLongError", "InvalidURI", "InvalidObjectName", "XMinioInvalidObjectName"}
)
# Objects up to this size are one PUT; larger ones go up in parts of it.
_PART_BYTES = 64 << 20
_CREATE_ATTEMPTS = 5
_CONNECT_SECONDS = 3
# Asked four times, a service that takes connections and says nothing is given up after 21 seconds.
_SILENCE_SECONDS = 5
# What is not sent again is waited for.
_ONCE_SECONDS = 20


@dataclass(frozen=True)
class S3Settings:
    """How to reach an S3 service."""

    endpoint: str = "s3.amazonaws.com"
    """Host and port, without a scheme."""
    access_key: str = ""
    """Access key; empty takes the keys where AWS tools look (environment, file, instance)."""
    secret_key: str = field(default="", repr=False)
    """Secret key that belongs to the access key."""
    region: str = "us-east-1"
    """Region that requests are signed for."""
    secure: bool = True
    """Whether to speak TLS."""


class S3Store(ObjectStore):
    """Objects in `bucket`, their keys below `prefix`."""

    def __init__(self, bucket: str, prefix: str = "", *, settings: S3Settings) -> None:
        self._bucket = bucket
        self._prefix = f"{checked_path(prefix)}/" if prefix else ""
        self._settings = settings
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")
        self._http = _http_pool()
        try:
            check_bucket_name(bucket)
            self._client = Minio(
                settings.endpoint,
                credentials=_provider(settings),
                secure=settings.secure,
                region=settings.region,
                http_client=self._http,
            )
        except ValueError as error:
            raise InvalidInput(
                "ERROR_REASON_INVALID_URI",
                f"cannot use the bucket {bucket!r} of {settings.endpoint!r}: {error}",
                uri=self.root,
            ) from error

    def read(self, path: str) -> bytes:
        """Return the whole object."""
        with _translated(path):
            answer = self._client.get_object(self._bucket, self._key(path))
            try:
                return bytes(answer.read())
            finally:
                answer.close()
                answer.release_conn()

    def write(self, path: str, data: bytes) -> None:
        """Write the object, over an older one if there is one."""
        with _translated(path):
            self._client.put_object(
                self._bucket, self._key(path), io.BytesIO(data), len(data), part_size=_PART_BYTES
            )

    def create(self, path: str, data: bytes) -> bool:
        """Write the object only if there is none; return whether this call did.

        One conditional PUT: services do not check the condition on uploads in parts, so an
        object made this way is at most 5 GiB.

        Raises:
            Unavailable: If no answer came; the object may be there or not.
        """
        with _translated(path):
            for _ in range(_CREATE_ATTEMPTS):
                status = self._put_if_absent(self._key(path), data)
                if status == 200:
                    return True
                if status == 412:
                    return False
                # 409: two conditional writes met, and S3 asks for another try.
                if status != 409:
                    break
        raise _unavailable(path, f"status {status}")

    def stat(self, path: str) -> ObjectStat:
        """Return size and etag."""
        with _translated(path):
            found = self._client.stat_object(self._bucket, self._key(path))
        return _stat(found)

    def exists(self, path: str) -> bool:
        """Return whether there is an object; a folder is none."""
        try:
            self.stat(path)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every object below the folder `prefix`, in byte order."""
        for found in self._objects(prefix, recursive=True):
            yield self._path(found)

    def stats(self, prefix: str = "") -> Iterator[tuple[str, ObjectStat]]:
        """Yield path, size and etag of every object below the folder `prefix`.

        A page of the listing tells them of a thousand objects; there is no request for each.
        """
        for found in self._objects(prefix, recursive=True):
            yield self._path(found), _stat(found)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Return the names directly below the folder `prefix`, sorted."""
        paths = (self._path(found) for found in self._objects(prefix, recursive=False))
        return tuple(sorted({path.removesuffix("/").rpartition("/")[2] for path in paths}))

    def delete(self, path: str) -> None:
        """Delete the object; nothing happens if there is none."""
        with _translated(path):
            self._client.remove_object(self._bucket, self._key(path))

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below the folder `prefix`."""
        folder = checked_path(prefix.removesuffix("/"))
        doomed = (DeleteObject(self._prefix + path) for path in self.list(folder))
        with _translated(prefix):
            failed = list(self._client.remove_objects(self._bucket, doomed))
        if failed:
            raise _unavailable(prefix, f"{len(failed)} objects stayed, first: {failed[0].code}")

    def kvstore(self, path: str) -> dict[str, Any]:
        """Return the tensorstore key-value store spec of the folder `path`."""
        scheme = "https" if self._settings.secure else "http"
        return {
            "driver": "s3",
            "bucket": self._bucket,
            "path": f"{self._key(path)}/",
            "endpoint": f"{scheme}://{self._settings.endpoint}",
            "aws_region": self._settings.region,
            "aws_credentials": credentials_spec(
                self._settings.access_key, self._settings.secret_key
            ),
        }

    def check(self) -> None:
        """Return if the bucket is there and answers."""
        with _translated(self.root):
            if not self._client.bucket_exists(self._bucket):
                raise _unavailable(self.root, "there is no such bucket")

    def _key(self, path: str) -> str:
        return self._prefix + checked_path(path)

    def _path(self, found: Object) -> str:
        return str(found.object_name).removeprefix(self._prefix)

    def _objects(self, prefix: str, *, recursive: bool) -> Iterator[Object]:
        folder = checked_prefix(prefix)
        start = self._prefix + (folder + "/" if folder else "")
        with _translated(prefix):
            for found in self._client.list_objects(self._bucket, start, recursive=recursive):
                # Some tools mark a folder with an empty object that ends in a slash.
                if found.object_name and found.object_name != start:
                    yield found

    def _put_if_absent(self, key: str, data: bytes) -> int:
        # minio's own put_object has no way to send a condition; a signed URL takes any header.
        url = self._client.get_presigned_url("PUT", self._bucket, key, timedelta(minutes=15))
        answer = self._http.request(
            "PUT",
            url,
            body=data,
            headers={"If-None-Match": "*"},
            retries=_safe_retries(),
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_ONCE_SECONDS),
        )
        if answer.status in (403, 400) and b"QuotaExceeded" in answer.data:
            raise _full()
        return int(answer.status)


def _stat(found: Object) -> ObjectStat:
    return ObjectStat(int(found.size or 0), str(found.etag).strip('"'))


def _provider(settings: S3Settings) -> Provider:
    if settings.access_key:
        return StaticProvider(settings.access_key, settings.secret_key)
    return ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()])


def _http_pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_SILENCE_SECONDS),
        maxsize=32,
        retries=urllib3.Retry(
            total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), allowed_methods=None
        ),
    )


def _safe_retries() -> urllib3.Retry:
    # A PUT whose answer was lost must not be sent again: the second one would find the object of
    # the first and report that somebody else had won.
    return urllib3.Retry(
        total=3,
        connect=3,
        read=0,
        other=0,
        status=3,
        backoff_factor=0.2,
        status_forcelist=(503,),
        allowed_methods=None,
        raise_on_status=False,
    )


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Name failures of the service as the domain does."""
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise NotFound(
                "ERROR_REASON_ARTIFACT_NOT_FOUND", f"there is no object {path!r}", path=path
            ) from error
        if error.code in _FULL:
            raise _full() from error
        if error.code in _BAD_NAME:
            raise InvalidInput(
                "ERROR_REASON_INVALID_URI", f"{path!r} cannot be a key", uri=path
            ) from error
        kind = Refused if error.code == _DENIED else Unavailable
        raise _unavailable(path, str(error.code), kind) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _unavailable(path, type(error).__name__) from error


def _full() -> Exhausted:
    return Exhausted("ERROR_REASON_STORE_FULL", "the object store has no space left")


def _unavailable(path: str, why: str, kind: type[Unavailable] = Unavailable) -> Unavailable:
    return kind(
        "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
        f"the object store did not serve {path!r}: {why}",
        service="object store",
    )
