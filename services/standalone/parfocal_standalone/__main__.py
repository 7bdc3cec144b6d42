"""Serves everything: `python -m parfocal_standalone`, settings from the environment."""

from __future__ import annotations

import os
import sys

from parfocal_runtime.config import ConfigError
from parfocal_standalone.data_folder import DataFolderInUse
from parfocal_standalone.up import Announcement, up


def main() -> None:
    """Serve the folder `PARFOCAL_DATA_DIR` (`./parfocal-data`) on `PARFOCAL_PORT` (50051)."""
    try:
        port = int(os.environ.get("PARFOCAL_PORT", "50051"))
        up(os.environ.get("PARFOCAL_DATA_DIR", "parfocal-data"), port=port, tell=_tell)
    except (ConfigError, DataFolderInUse, ValueError) as error:
        sys.exit(f"error: {error}")


def _tell(announcement: Announcement) -> None:
    print(announcement.link, flush=True)


if __name__ == "__main__":
    main()
