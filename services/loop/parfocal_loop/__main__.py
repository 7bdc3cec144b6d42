"""Serves the loop service alone: `python -m parfocal_loop`."""

from __future__ import annotations

import os

from parfocal_loop.app import build
from parfocal_loop.config import PREFIX, LoopConfig
from parfocal_runtime.config import from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    config = from_env(LoopConfig, os.environ, PREFIX)
    configure_logs(service="loop", level=config.log_level)
    run([build(config)], config)


if __name__ == "__main__":
    main()
