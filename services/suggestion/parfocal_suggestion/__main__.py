"""Run the suggestion service alone: `python -m parfocal_suggestion`."""

from __future__ import annotations

import os

from parfocal_runtime.config import from_env
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import run
from parfocal_suggestion.app import build
from parfocal_suggestion.config import PREFIX, SuggestionConfig


def main() -> None:
    """Read the settings, serve until told to stop."""
    config = from_env(SuggestionConfig, os.environ, PREFIX)
    configure_logs(service="suggestion", level=config.log_level)
    run([build(config)], config)


if __name__ == "__main__":
    main()
