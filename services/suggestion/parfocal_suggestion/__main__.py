"""Serves the suggestion service alone: `python -m parfocal_suggestion`."""

from __future__ import annotations

from parfocal_runtime.alone import serve_alone
from parfocal_suggestion.app import build
from parfocal_suggestion.config import PREFIX, SuggestionConfig


def main() -> None:
    """Read the settings and serve until told to stop."""
    serve_alone("suggestion", SuggestionConfig, PREFIX, build)


if __name__ == "__main__":
    main()
