"""Serve training: `python -m parfocal_training`."""

from __future__ import annotations

import os
import sys

from parfocal_runtime.config import ConfigError, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run
from parfocal_training.app import build
from parfocal_training.config import PREFIX, TrainingConfig


def main() -> None:
    """Read the settings and serve until told to stop."""
    try:
        config = from_env(TrainingConfig, os.environ, PREFIX)
        configure_logs(service="training", level=config.log_level)
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
