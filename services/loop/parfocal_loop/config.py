"""The settings of the loop service, read once."""

from __future__ import annotations

from dataclasses import dataclass, field

from parfocal_runtime.config import ServerConfig, bounded

PREFIX = "PARFOCAL_LOOP"


@dataclass(frozen=True, kw_only=True)
class LoopConfig(ServerConfig):
    """Settings of the loop service; each is read from `PARFOCAL_LOOP_<FIELD>`."""

    database: str = "sqlite:///loop.sqlite"
    """Where rounds and jobs are kept: `sqlite:///PATH` or `postgresql://USER@HOST:PORT/NAME`."""
    labels: str = "127.0.0.1:50051"
    """Address of the labels service."""
    inference: str = "127.0.0.1:50051"
    """Address of the inference service."""
    embedding: str = "127.0.0.1:50051"
    """Address of the embedding service."""
    suggestion: str = "127.0.0.1:50051"
    """Address of the suggestion service."""
    training: str = "127.0.0.1:50051"
    """Address of the training service."""
    token_file: str = ""
    """File with the bearer token of role curator that these services are called with."""
    peer_tls: bool = False
    """Whether to speak TLS to these services; either of the next two files means it too."""
    peer_ca_file: str = ""
    """PEM authorities of their certificates; empty takes the system's."""
    peer_certificate_file: str = ""
    """PEM chain that is shown to them, where they ask for one."""
    peer_key_file: str = field(default="", repr=False)
    """PEM key of that certificate."""
    scheduler: str = ""
    """Address of a Dask scheduler for bulk work; empty uses threads of this process."""
    threads: int = bounded(2, least=1, most=256)
    """Calls at a time in this process, where there is no scheduler."""
    poll_seconds: float = bounded(1.0, least=0.05, most=60)
    """Seconds between two looks at what people have answered and at what there is to do."""
    claim_seconds: float = bounded(10.0, least=0.5, most=600)
    """Seconds after which another controller takes over from one that has fallen silent."""
