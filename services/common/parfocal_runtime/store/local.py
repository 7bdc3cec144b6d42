"""An object store in a folder of the local file system."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from parfocal_runtime.errors import Exhausted, InvalidInput, NotFound, PermissionDenied, Unavailable
from parfocal_runtime.store.interface import ObjectStat, ObjectStore, Refused
from parfocal_runtime.store.paths import checked_path, checked_prefix

_TEMPORARY = ".parfocal-"
# Left for a moment by tensorstore while it replaces a chunk.
_LOCK = ".__lock"


class LocalStore(ObjectStore):
    """Objects as files below `folder`.

    A write goes to a temporary file in the same folder, is synced to disk, and is then renamed
    (`write`) or linked (`create`) to its name, so that no reader sees half an object.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        given = Path(os.path.abspath(folder))
        given.mkdir(parents=True, exist_ok=True)
        self._folder = given.resolve()
        self._given = given
        self.root = self._folder.as_uri()

    def read(self, path: str) -> bytes:
        """Return the whole object."""
        with _translated(path):
            return self._file(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write the object, over an older one if there is one."""
        self._store(path, data, os.replace)

    def create(self, path: str, data: bytes) -> bool:
        """Write the object only if there is none; return whether this call did."""
        if self.exists(path):
            return False
        try:
            self._store(path, data, os.link)
        except FileExistsError:
            return False
        return True

    def stat(self, path: str) -> ObjectStat:
        """Return size and etag."""
        file = self._file(path)
        with _translated(path):
            found = file.stat()
            if not file.is_file():
                raise FileNotFoundError
        return ObjectStat(found.st_size, f"{found.st_mtime_ns:x}-{found.st_ino:x}")

    def exists(self, path: str) -> bool:
        """Return whether there is an object; a folder is none."""
        file = self._file(path)
        with _translated(path):
            return file.is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the path of every object below the folder `prefix`, in byte order."""
        folder = checked_prefix(prefix)
        yield from _walk(self._inside(folder), folder + "/" if folder else "")

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Return the names directly below the folder `prefix`, sorted."""
        folder = self._inside(checked_prefix(prefix))
        return tuple(sorted(entry.name for entry in _entries(folder) if _is_there(entry)))

    def delete(self, path: str) -> None:
        """Delete the object; nothing happens if there is none."""
        file = self._file(path)
        with _translated(path), suppress(FileNotFoundError, NotADirectoryError):
            if not file.is_dir():
                file.unlink()

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below the folder `prefix`."""
        folder = self._inside(checked_path(prefix.removesuffix("/")))
        with _translated(prefix), suppress(FileNotFoundError, NotADirectoryError):
            shutil.rmtree(folder)

    def kvstore(self, path: str) -> dict[str, Any]:
        """Return the tensorstore key-value store spec of the folder `path`."""
        return {"driver": "file", "path": f"{self._file(path)}/"}

    def check(self) -> None:
        """Return if the folder is there and can be written."""
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(
                "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
                f"cannot read and write {self.root}",
                service="object store",
            )

    def _root_uris(self) -> tuple[str, ...]:
        return (self.root, self._given.as_uri())

    def _guarded(self, path: str) -> str:
        self._inside(path)
        return path

    def _file(self, path: str) -> Path:
        return self._inside(checked_path(path))

    def _inside(self, path: str) -> Path:
        file = self._folder / path
        with _translated(path):
            real = os.path.realpath(file)
        if real != str(self._folder) and not real.startswith(f"{self._folder}{os.sep}"):
            raise PermissionDenied(
                "ERROR_REASON_URI_OUTSIDE_ROOTS", f"{path!r} is outside the object store", uri=path
            )
        return file

    def _store(self, path: str, data: bytes, publish: Callable[[Path, Path], None]) -> None:
        file = self._file(path)
        temporary = file.with_name(f"{_TEMPORARY}{uuid4().hex}")
        with _translated(path):
            _make_folder(file.parent)
            if file.is_dir():
                raise NotADirectoryError(file)
            try:
                _write_synced(temporary, data)
                publish(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(file.parent)


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if not entry.name.startswith(_TEMPORARY) and not entry.name.endswith(_LOCK)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise _refused(Path(folder).name, Refused) from error


def _is_there(entry: os.DirEntry[str]) -> bool:
    # A folder without an object in it does not exist in an object store; one that nobody may look
    # into does.
    try:
        return entry.is_file() or any(_walk(entry, ""))
    except (PermissionError, Refused):
        return True


def _walk(folder: Path | os.DirEntry[str], above: str) -> Iterator[str]:
    # With its slash a folder sorts among the files as its objects do in a bucket.
    names = {e.name + "/" * e.is_dir(follow_symlinks=False): e for e in _entries(folder)}
    for name in sorted(names, key=str.encode):
        if name.endswith("/"):
            yield from _walk(names[name], above + name)
        elif names[name].is_file():
            yield above + name


def _write_synced(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(folder) from error
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Name failures of the file system as the domain does; `FileExistsError` passes."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(
            "ERROR_REASON_ARTIFACT_NOT_FOUND", f"there is no object {path!r}", path=path
        ) from error
    except NotADirectoryError as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_URI", f"{path!r} is a folder, or lies below an object", uri=path
        ) from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InvalidInput(
                "ERROR_REASON_INVALID_URI", f"{path!r} cannot be a file", uri=path
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Exhausted(
                "ERROR_REASON_STORE_FULL", "the object store has no space left"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise _refused(path, Refused) from error
        if error.errno in (errno.EROFS, errno.EIO, errno.ESTALE):
            raise _refused(path, Unavailable) from error
        raise


def _refused(path: str, kind: type[Unavailable]) -> Unavailable:
    return kind(
        "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
        f"the object store refused {path!r}",
        service="object store",
    )
