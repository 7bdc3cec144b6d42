"""The folder in which `parfocal up` keeps everything, as other programs find it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalData:
    """A data folder of `parfocal up`.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def token_file(self) -> Path:
        """File with the bearer token, which only its owner may read."""
        return self.folder / "token"

    @property
    def server_file(self) -> Path:
        """JSON file that says where the running server answers."""
        return self.folder / "server.json"

    @property
    def store(self) -> Path:
        """Root of the object store."""
        return self.folder / "store"

    def address(self) -> str | None:
        """Return where the server answers, or None where none is running."""
        try:
            address = json.loads(self.server_file.read_text())["address"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return address if isinstance(address, str) else None

    def token(self) -> str | None:
        """Return the token, or None where there is none that this user may read."""
        try:
            return self.token_file.read_text().strip() or None
        except OSError:
            return None


def local_data(
    folder: str | os.PathLike[str] | None = None, *, environment: Mapping[str, str] | None = None
) -> LocalData:
    """Return the data folder: the given one, `PARFOCAL_DATA_DIR`, or `~/.parfocal`."""
    variables = os.environ if environment is None else environment
    return LocalData(
        Path(folder or variables.get("PARFOCAL_DATA_DIR") or Path.home() / ".parfocal")
    )
