"""Serves the labels service alone: `python -m parfocal_labels`."""

from __future__ import annotations

from parfocal_labels.app import build
from parfocal_labels.config import PREFIX, LabelsConfig
from parfocal_runtime.alone import serve_alone


def main() -> None:
    """Read the settings and serve until told to stop."""
    serve_alone("labels", LabelsConfig, PREFIX, build)


if __name__ == "__main__":
    main()
