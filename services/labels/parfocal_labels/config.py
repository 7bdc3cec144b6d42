"""The settings of the labels service, read once."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_runtime.config import ServerConfig, bounded

PREFIX = "PARFOCAL_LABELS"


@dataclass(frozen=True, kw_only=True)
class LabelsConfig(ServerConfig):
    """Settings of the labels service; each is read from `PARFOCAL_LABELS_<FIELD>`."""

    database: str = "sqlite:///labels.sqlite"
    """Where labels are kept: `sqlite:///PATH` or `postgresql://USER@HOST:PORT/NAME`."""
    database_connections: int = bounded(8, least=1, most=1000)
    """Connections to PostgreSQL at most."""
    poll_seconds: float = bounded(1.0, least=0.05, most=60)
    """How soon a watcher looks by itself for what another replica wrote."""
    statistics_seconds: float = bounded(15.0, least=0.1, most=3600)
    """Seconds between two counts of the projects for `/metrics`; readiness follows them."""
