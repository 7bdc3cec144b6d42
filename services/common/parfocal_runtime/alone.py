"""One service in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from parfocal_runtime.config import ConfigError, ServerConfig, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import Service, run

Config = TypeVar("Config", bound=ServerConfig)


def serve_alone(
    name: str, settings: type[Config], prefix: str, build: Callable[[Config], Service]
) -> None:
    """Serve one service until SIGTERM or SIGINT; a setting that cannot be used ends the process.

    Args:
        name: Name of the service in the log.
        settings: What it is told by the environment.
        prefix: How the variables of these settings begin.
        build: Makes the service of its settings.
    """
    try:
        config = from_env(settings, os.environ, prefix)
        configure_logs(service=name, level=config.log_level)
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")
