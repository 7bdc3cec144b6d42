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

    def store_uri(self) -> str:
        """Return the root of the object store: the running server's, else the folder's own."""
        return self._announced("store") or Path(os.path.abspath(self.folder), "store").as_uri()

    def address(self) -> str | None:
        """Return where the server answers, or None where none is running."""
        return self._announced("address")

    def token(self) -> str | None:
        """Return the token, or None where there is none that this user may read."""
        try:
            return self.token_file.read_text().strip() or None
        except OSError:
            return None

    def _announced(self, key: str) -> str | None:
        try:
            value = json.loads(self.server_file.read_text())[key]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None


def local_data(
    folder: str | os.PathLike[str] | None = None, *, environment: Mapping[str, str] | None = None
) -> LocalData:
    """Return the data folder: the given one, `PARFOCAL_DATA_DIR`, or `~/.parfocal`."""
    variables = os.environ if environment is None else environment
    return LocalData(
        Path(folder or variables.get("PARFOCAL_DATA_DIR") or Path.home() / ".parfocal")
    )
