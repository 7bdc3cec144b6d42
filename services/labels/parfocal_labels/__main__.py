"""Serves the labels service alone: `python -m parfocal_labels`."""

from __future__ import annotations

import os

from parfocal_labels.app import build
from parfocal_labels.config import PREFIX, LabelsConfig
from parfocal_runtime.config import from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    config = from_env(LabelsConfig, os.environ, PREFIX)
    configure_logs(service="labels", level=config.log_level)
    run([build(config)], config)


if __name__ == "__main__":
    main()
