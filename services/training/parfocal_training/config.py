"""Settings of the training service."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import ServerConfig, bounded

PREFIX = "PARFOCAL_TRAINING"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(ServerConfig):
    """What the training service needs to know, besides what every service does."""

    threads: int = bounded(0, least=0, most=1024)
    """Threads that a worker computes with; 0 is what the CPU quota gives."""
    workers: int = bounded(1, least=1, most=64)
    """Runs at the same time; further ones wait."""
    max_attempts: int = bounded(10, least=1)
    """Workers that a run may lose before it counts as failed."""
    checkpoint_seconds: float = bounded(30.0, least=0)
    """Time between two checkpoints; what a killed run loses at most."""
    idle_seconds: float = bounded(60.0, least=0)
    """Time that a worker waits for another run, which then starts seconds sooner; 0 ends it."""
