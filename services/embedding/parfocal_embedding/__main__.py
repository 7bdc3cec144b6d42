"""Run the embedding service alone: `python -m parfocal_embedding`."""

from __future__ import annotations

import os
import sys

from parfocal_embedding.app import build
from parfocal_embedding.config import PREFIX, EmbeddingConfig
from parfocal_runtime.config import ConfigError, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run


def main() -> None:
    """Read the settings, serve until told to stop."""
    try:
        config = from_env(EmbeddingConfig, os.environ, PREFIX)
        configure_logs(service="embedding", level=config.log_level)
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
