"""What every object store can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from parfocal_runtime.errors import Unavailable
from parfocal_runtime.store.paths import checked_path, path_from_uri


class Refused(Unavailable):
    """The store answers, but does not let this process at what is named."""


@dataclass(frozen=True)
class ObjectStat:
    """What a store knows of an object without reading it.

    Attributes:
        size: Length in bytes.
        etag: Changes whenever the content is written again; not comparable between stores.
    """

    size: int
    etag: str


class ObjectStore(ABC):
    """Named byte strings under one root.

    Paths are relative to the root, separated by `/`, as `parfocal_runtime.layout` gives them. Every
    method refuses a path that is empty or has an empty, `.` or `..` part. Methods block;
    they are safe to call from many threads at once.

    Attributes:
        root: URI of the root, without a trailing slash: `file:///folder` or `s3://bucket/prefix`.
    """

    root: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the whole object.

        Raises:
            NotFound: If there is none (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        """

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write the object, over an older one if there is one; readers see the old or the new."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write the object only if there is none; return whether this call did.

        Of any number of callers at the same time exactly one gets True.
        """

    @abstractmethod
    def stat(self, path: str) -> ObjectStat:
        """Return size and etag.

        Raises:
            NotFound: If there is none (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        """

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether there is an object; a folder is none."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every object below the folder `prefix`, in byte order.

        The folder `a/b` holds `a/b/c` and `a/b/c/d`, not `a/bc`. An empty prefix is the root.
        """

    def stats(self, prefix: str = "") -> Iterator[tuple[str, ObjectStat]]:
        """Yield path, size and etag of every object below the folder `prefix`, as `list` does."""
        for path in self.list(prefix):
            yield path, self.stat(path)

    @abstractmethod
    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Return the names directly below the folder `prefix`, of objects and folders, sorted."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete the object; nothing happens if there is none."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below the folder `prefix`."""

    @abstractmethod
    def kvstore(self, path: str) -> dict[str, Any]:
        """Return the tensorstore key-value store spec of the folder `path`."""

    @abstractmethod
    def check(self) -> None:
        """Return if the store answers now.

        Raises:
            Unavailable: If it does not (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
        """

    def resolve(self, uri: str, *, field: str = "uri") -> str:
        """Return the path of what a caller named, by relative path or by URI inside the root.

        Args:
            uri: What the caller sent.
            field: Field of the request it came in, for the error.

        Raises:
            InvalidInput: If it is empty or ill-formed (`ERROR_REASON_INVALID_URI`).
            PermissionDenied: If it leads out of the root: `..`, an absolute path, another root,
                a symbolic link to elsewhere (`ERROR_REASON_URI_OUTSIDE_ROOTS`).
        """
        return self._guarded(path_from_uri(uri, self._root_uris(), field=field))

    def uri(self, path: str) -> str:
        """Return the absolute URI of a path."""
        return f"{self.root}/{checked_path(path)}"

    def _root_uris(self) -> tuple[str, ...]:
        return (self.root,)

    def _guarded(self, path: str) -> str:
        return path
