"""Serves the training service alone: `python -m parfocal_training`."""

from __future__ import annotations

from parfocal_runtime.alone import serve_alone
from parfocal_training.app import build
from parfocal_training.config import PREFIX, TrainingConfig


def main() -> None:
    """Read the settings and serve until told to stop."""
    serve_alone("training", TrainingConfig, PREFIX, build)


if __name__ == "__main__":
    main()
