"""Builds the training service."""

from __future__ import annotations

import grpc

from parfocal.training.v1 import training_service_pb2_grpc as pb_grpc
from parfocal.training.v1.training_service_pb2 import DESCRIPTOR
from parfocal_runtime.config import ConfigError
from parfocal_runtime.server import Service
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_training.config import TrainingConfig
from parfocal_training.runs import Runs, WorkerSettings
from parfocal_training.servicer import TrainingServicer
from parfocal_training.worker import WorkOrder


def build(config: TrainingConfig, store: ObjectStore | None = None) -> Service:
    """Return the service.

    Args:
        config: Settings.
        store: The object store; opened from the settings where None. Workers always open it from
            the settings.

    Raises:
        ConfigError: If no store is configured.
    """
    if not config.store_uri:
        raise ConfigError("PARFOCAL_STORE_URI is not set")
    order = WorkOrder(
        run="",
        store_uri=config.store_uri,
        s3=config.s3,
        threads=config.threads,
        checkpoint_seconds=config.checkpoint_seconds,
    )
    settings = WorkerSettings(
        order=order,
        at_once=config.workers,
        max_attempts=config.max_attempts,
        idle_seconds=config.idle_seconds,
    )
    runs = Runs(store or open_store(config.store_uri, s3=config.s3), settings)

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_TrainingServiceServicer_to_server(TrainingServicer(runs), server)

    name = DESCRIPTOR.services_by_name["TrainingService"].full_name
    return Service(names=(name,), register=register, stop=runs.close)
