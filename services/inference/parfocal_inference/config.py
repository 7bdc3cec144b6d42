"""The settings of the inference service, read once."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import ServerConfig, bounded

PREFIX = "PARFOCAL_INFERENCE"


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(ServerConfig):
    """Settings of the inference service; each is read from `PARFOCAL_INFERENCE_<FIELD>`."""

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """Execution providers of ONNX Runtime, all demanded, best first."""
    model_memory_bytes: int = bounded(0, least=0)
    """Most memory that all models take together, as told from their graphs; more are refused.
    0 is no limit."""
    gpu_memory_bytes: int = bounded(0, least=0)
    """Most memory that the arena of one session takes on a GPU; 0 is no limit."""
    session_threads: int = bounded(0, least=0, most=1024)
    """Threads that work on a model: all on one run, or each on a window of a block of its own; 0 is
    the CPUs that the process has."""
    model_poll_seconds: float = bounded(1.0, least=0.05, most=3600)
    """Seconds between two looks for new model versions."""
    windows_per_run: int = bounded(0, least=0, most=1024)
    """Windows of a block in one run of the model. 0 is one on a CPU, where more gain nothing, and
    eight on a GPU, or as many as the model takes."""
    patches_per_run: int = bounded(64, least=1, most=65536)
    """Patches in one run of a patch classifier."""
    parallel_blocks: int = bounded(2, least=1, most=1024)
    """Blocks predicted at the same time; other requests wait."""
    max_block_voxels: int = bounded(1 << 27, least=1)
    """Most voxels of a block, which bounds the time of a request."""
    max_block_bytes: int = bounded(4 << 30, least=1)
    """Most memory that a block may need besides what the model takes; it is known beforehand."""
    max_candidates: int = bounded(1_000_000, least=1, most=2**32 - 2)
    """Most candidates of a set."""
