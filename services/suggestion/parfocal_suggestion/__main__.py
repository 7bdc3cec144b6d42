"""Run the suggestion service alone: `python -m parfocal_suggestion`."""

from __future__ import annotations

import os
import sys

from parfocal_runtime.config import ConfigError, from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run
from parfocal_suggestion.app import build
from parfocal_suggestion.config import PREFIX, SuggestionConfig


def main() -> None:
    """Read the settings, serve until told to stop."""
    try:
        config = from_env(SuggestionConfig, os.environ, PREFIX)
        configure_logs(service="suggestion", level=config.log_level)
        run([build(config)], config)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
