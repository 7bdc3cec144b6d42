"""Exports from the object store into files of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from parfocal._errors import InvalidRequestError, NotFoundError
from parfocal._images.place import Place, place

Progress = Callable[[str, int, int], None]


def fetch_file(store: str | os.PathLike[str], path: str, out: Path) -> Path:
    """Copy a file of the object store and return where it is now.

    Args:
        store: Folder or URI of the object store's root.
        path: Path of the file in it.
        out: Where to: a folder that is there takes it in, otherwise it gets this name.

    Raises:
        NotFoundError: If there is none (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidRequestError: If it cannot be written.
    """
    folder, _, name = path.rpartition("/")
    target = out / name if out.is_dir() else out
    _copy(place(store).below(folder), name, target)
    return target


def fetch_folder(
    store: str | os.PathLike[str], path: str, out: Path, *, progress: Progress | None = None
) -> Path:
    """Copy a folder of the object store and return where it is now.

    Arguments and errors are those of `fetch_file`; `progress` is called with what is being done,
    the files done and their number in all.
    """
    source = place(store).below(path)
    target = out / path.rpartition("/")[2] if out.is_dir() else out
    names = source.names()
    for done, name in enumerate(names, 1):
        _copy(source, name, target / name)
        if progress is not None:
            progress("copying", done, len(names))
    return target


def _copy(source: Place, name: str, target: Path) -> None:
    data = source.read(name)
    if data is None:
        raise NotFoundError(
            f"there is no {name} in {source.uri}",
            reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
            metadata={"path": name},
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        raise InvalidRequestError(f"cannot write {error.filename}: {error.strerror}") from error
