"""Serves the embedding service alone: `python -m parfocal_embedding`."""

from __future__ import annotations

from parfocal_embedding.app import build
from parfocal_embedding.config import PREFIX, EmbeddingConfig
from parfocal_runtime.alone import serve_alone


def main() -> None:
    """Read the settings and serve until told to stop."""
    serve_alone("embedding", EmbeddingConfig, PREFIX, build)


if __name__ == "__main__":
    main()
