"""Settings of the embedding service."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import ServerConfig, bounded

PREFIX = "PARFOCAL_EMBEDDING"


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(ServerConfig):
    """Settings of the embedding service; each is read from `PARFOCAL_EMBEDDING_<FIELD>`."""

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """Execution providers of ONNX Runtime, all demanded, best first."""
    session_threads: int = bounded(0, least=0, most=1024)
    """Runs of an encoder at a time, each of one thread; 0 is the CPUs that the process has. On a
    GPU and on OpenVINO it is the threads of one run."""
    parallel_ranges: int = bounded(2, least=1, most=1024)
    """Ranges of candidate sets embedded at the same time; other requests wait."""
