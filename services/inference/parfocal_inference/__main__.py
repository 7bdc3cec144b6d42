"""Serves the inference service alone: `python -m parfocal_inference`."""

from __future__ import annotations

from parfocal_inference.app import build
from parfocal_inference.config import PREFIX, InferenceConfig
from parfocal_runtime.allocator import keep_large_buffers
from parfocal_runtime.alone import serve_alone


def main() -> None:
    """Read the settings and serve until told to stop."""
    keep_large_buffers()
    serve_alone("inference", InferenceConfig, PREFIX, build)


if __name__ == "__main__":
    main()
