"""The files of a package: a folder, or a zip archive that is read without being unpacked."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.packages.refusals import refused

DESCRIPTION_FILES = ("bioimageio.yaml", "rdf.yaml")
"""Names of the file that describes a package, the one that counts first."""

MOST_DESCRIPTION_BYTES = 1 << 20
MOST_TENSOR_BYTES = 1 << 29
MOST_WEIGHTS_BYTES = (1 << 31) - 1
"""What one ONNX file can hold; the format is protobuf's, which ends there."""

_MOST_ENTRIES = 10_000
# RuntimeError is what the library raises for a file under a password, OSError for a place that
# is none, ValueError and EOFError for what ends early.
_UNPACKING = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip


class Package(Protocol):
    """Files by their path inside a package, with `/` between folders."""

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        ...

    def content(self, path: str, *, most: int) -> bytes:
        """Return the content of a file.

        Raises:
            InvalidInput: If there is none, it has more than `most` bytes, or it lies outside of
                the package (`ERROR_REASON_INVALID_MODEL`).
        """
        ...


@contextmanager
def open_package(path: Path) -> Iterator[Package]:
    """Yield the package in a folder or zip archive.

    Raises:
        InvalidInput: If it is neither (`ERROR_REASON_INVALID_MODEL`).
    """
    if path.is_dir():
        yield FolderPackage(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise refused(path.name, "it is no zip archive that can be read") from error
    with archive:
        yield ZipPackage(archive, path.name)


def is_package(path: Path) -> bool:
    """Return whether a path looks like a package rather than an ONNX file."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def description_of(package: Package) -> tuple[str, bytes]:
    """Return the name and the content of the file that describes a package.

    Raises:
        InvalidInput: If there is none (`ERROR_REASON_INVALID_MODEL`).
    """
    for name in DESCRIPTION_FILES:
        if package.has(name):
            return name, package.content(name, most=MOST_DESCRIPTION_BYTES)
    raise refused(" or ".join(DESCRIPTION_FILES), "there is no such file at the top of the package")


def inside(path: str) -> str:
    """Return a path in its shortest spelling.

    Raises:
        InvalidInput: If it leads out of the package (`ERROR_REASON_INVALID_MODEL`).
    """
    pure = PurePosixPath(path)
    if (
        not pure.parts
        or pure.is_absolute()
        or ".." in pure.parts
        or any(character in path for character in "\\:\0")
    ):
        raise refused(path or "source", "it must be the path of a file inside the package")
    return pure.as_posix()


class FolderPackage:
    """A package that was unpacked into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        return (self._folder / inside(path)).is_file()

    def content(self, path: str, *, most: int) -> bytes:
        """Return the content of a file; links must not lead out of the folder."""
        try:
            file = (self._folder / inside(path)).resolve()
        except RuntimeError as error:
            raise refused(path, "it is a link to itself") from error
        if not file.is_relative_to(self._folder.resolve()):
            raise refused(path, "it leads out of the package")
        if not file.is_file():
            raise refused(path, "the package has no such file")
        if file.stat().st_size > most:
            raise _too_large(path, most)
        return file.read_bytes()


class ZipPackage:
    """A package in a zip archive; its files may lie in one folder at the top."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        names = archive.namelist()
        if len(names) > _MOST_ENTRIES:
            raise refused(name, f"it has more than {_MOST_ENTRIES} files")
        if len(set(names)) < len(names):
            # Which of two files counts would depend on who reads.
            raise refused(name, "it has two files of one name")
        self._entries = {info.filename: info for info in archive.infolist()}
        self._top = _top_folder(names)

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        return self._top + inside(path) in self._entries

    def content(self, path: str, *, most: int) -> bytes:
        """Return the content of a file; links are not followed."""
        entry = self._entries.get(self._top + inside(path))
        if entry is None or entry.is_dir():
            raise refused(path, "the package has no such file")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise refused(path, "it is a link")
        try:
            with self._archive.open(entry) as opened:
                # What an archive says of a size is not relied on: no more is unpacked than allowed.
                unpacked = opened.read(most + 1)
        except _UNPACKING as error:
            raise refused(path, f"it cannot be unpacked: {error}") from error
        if len(unpacked) > most:
            raise _too_large(path, most)
        return unpacked


def _top_folder(names: list[str]) -> str:
    if any(name in names for name in DESCRIPTION_FILES):
        return ""
    tops = {f"{name.split('/', 1)[0]}/" for name in names if "/" in name}
    described = sorted(
        top for top in tops if any(top + name in names for name in DESCRIPTION_FILES)
    )
    return described[0] if len(described) == 1 else ""


def _too_large(path: str, most: int) -> InvalidInput:
    return refused(path, f"it has more than {most} bytes")
