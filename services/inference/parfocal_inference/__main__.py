"""Serves the inference service alone: `python -m parfocal_inference`."""

from __future__ import annotations

import os
import sys

from parfocal_inference.app import build
from parfocal_inference.config import PREFIX, InferenceConfig
from parfocal_runtime.allocator import keep_large_buffers
from parfocal_runtime.config import ConfigError, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    try:
        config = from_env(InferenceConfig, os.environ, PREFIX)
        configure_logs(service="inference", level=config.log_level)
        keep_large_buffers()
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
