"""Serves the loop service alone: `python -m parfocal_loop`."""

from __future__ import annotations

import os
import sys

from parfocal_loop.app import build
from parfocal_loop.config import PREFIX, LoopConfig
from parfocal_runtime.config import ConfigError, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    try:
        config = from_env(LoopConfig, os.environ, PREFIX)
        configure_logs(service="loop", level=config.log_level)
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
