"""Puts the labels service together; the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import time

import grpc.aio

from parfocal.labels.v1 import labels_service_pb2_grpc
from parfocal_labels.config import LabelsConfig
from parfocal_labels.metrics import LabelMetrics
from parfocal_labels.migrate import migrate
from parfocal_labels.servicer import LabelsServicer
from parfocal_labels.store import LabelStore
from parfocal_runtime.database import Database
from parfocal_runtime.logs import get_logger
from parfocal_runtime.server import Service
from parfocal_runtime.store import ObjectStore, open_store

NAME = "parfocal.labels.v1.LabelsService"

# So many times as long as counting takes, it rests.
_REST = 20

_log = get_logger(__name__)


def build(config: LabelsConfig, store: ObjectStore | None = None) -> Service:
    """Return the labels service, ready to be served.

    Args:
        config: Its settings.
        store: Where snapshots go; None opens the store that `config` names.
    """
    labels = _Labels(config, store or open_store(config.store_uri, s3=config.s3))
    return Service(
        names=(NAME,),
        register=labels.register,
        start=labels.start,
        stop=labels.stop,
        ready=labels.ready,
        collectors=(labels.metrics,),
    )


class _Labels:
    """What lives from the start of the service to its end."""

    def __init__(self, config: LabelsConfig, objects: ObjectStore) -> None:
        self._database = Database(config.database, pool_size=config.database_connections)
        self._store = LabelStore(self._database, objects, poll_seconds=config.poll_seconds)
        self._seconds = config.statistics_seconds
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._answers = False
        self._cost = 0.0
        self.metrics = LabelMetrics()

    def register(self, server: grpc.aio.Server) -> None:
        servicer = LabelsServicer(self._store, self.metrics)
        labels_service_pb2_grpc.add_LabelsServiceServicer_to_server(servicer, server)

    async def start(self) -> None:
        await migrate(self._database)
        await self._count()
        self._tasks = (
            asyncio.create_task(self._keep_counting()),
            asyncio.create_task(self._store.listen()),
        )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._database.close()

    def ready(self) -> bool:
        return self._answers

    async def _keep_counting(self) -> None:
        while True:
            # Counting reads every standing; of a long queue it must not become the main work.
            await asyncio.sleep(max(self._seconds, _REST * self._cost))
            await self._count()

    async def _count(self) -> None:
        start = time.monotonic()
        try:
            self.metrics.update(await self._store.statistics())
            self._answers = True
            self._cost = time.monotonic() - start
        except Exception:
            # Whatever it is, the next count may work, and nobody else would begin one.
            self._answers = False
            _log.exception("the projects cannot be counted")
