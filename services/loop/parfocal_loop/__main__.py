"""Serves the loop service alone: `python -m parfocal_loop`."""

from __future__ import annotations

from parfocal_loop.app import build
from parfocal_loop.config import PREFIX, LoopConfig
from parfocal_runtime.alone import serve_alone


def main() -> None:
    """Read the settings and serve until told to stop."""
    serve_alone("loop", LoopConfig, PREFIX, build)


if __name__ == "__main__":
    main()
