"""Exports from the object store into files of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from parfocal._errors import InvalidRequestError, NotFoundError
from parfocal._images.place import place

Progress = Callable[[str, int, int], None]


def fetch(
    store: str | os.PathLike[str], path: str, out: Path, *, progress: Progress | None = None
) -> Path:
    """Copy a file or folder of the object store and return where it is now.

    Args:
        store: Folder or URI of the object store's root.
        path: Path of the file or the folder in it.
        out: Where to: a folder that is there takes it in, otherwise it gets this name.
        progress: Called with what is being done, the files done and their number in all.

    Raises:
        NotFoundError: If there is nothing (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidRequestError: If it cannot be written.
    """
    root = place(store)
    folder, _, name = path.rpartition("/")
    target = out / name if out.is_dir() else out
    parts = root.below(path).names()
    source = root.below(path if parts else folder)
    files = {part: target / part for part in parts} or {name: target}
    try:
        for done, (part, file) in enumerate(files.items(), 1):
            data = source.read(part)
            if data is None:
                raise NotFoundError(
                    f"there is no {path} in {root.uri}",
                    reason="ERROR_REASON_ARTIFACT_NOT_FOUND",
                    metadata={"path": path},
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            if progress is not None:
                progress("copying", done, len(files))
    except OSError as error:
        raise InvalidRequestError(f"cannot write {error.filename}: {error.strerror}") from error
    return target
