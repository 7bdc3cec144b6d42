"""Every service in one process, on one port of this machine: what `parfocal up` runs."""

from __future__ import annotations

from parfocal_standalone.data_folder import DataFolder, DataFolderInUse
from parfocal_standalone.embedded import Standalone
from parfocal_standalone.up import up

__all__ = ["DataFolder", "DataFolderInUse", "Standalone", "up"]
