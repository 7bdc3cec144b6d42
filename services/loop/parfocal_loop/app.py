"""Puts the loop service together; the only place that names concrete classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grpc.aio

from parfocal.loop.v1 import loop_service_pb2_grpc as service_grpc
from parfocal_loop.actions import Means
from parfocal_loop.bulk import Bulk
from parfocal_loop.config import LoopConfig
from parfocal_loop.controller import Controller, Pace
from parfocal_loop.live_rounds import LiveRounds
from parfocal_loop.metrics import LoopMetrics
from parfocal_loop.peers import Address, Addresses, Peers
from parfocal_loop.references import References
from parfocal_loop.schema import VERSION_TABLE
from parfocal_loop.servicer import LoopServicer
from parfocal_loop.works import WorkStore
from parfocal_runtime.database import Database, migrate
from parfocal_runtime.server import Service
from parfocal_runtime.store import open_store
from parfocal_runtime.tasks import in_thread

NAME = "parfocal.loop.v1.LoopService"
_MIGRATIONS = Path(__file__).parent / "migrations"


def build(config: LoopConfig) -> Service:
    """Return the loop service, ready to be served."""
    loop = _Loop(config)
    return Service(
        names=(NAME,),
        register=loop.register,
        start=loop.start,
        stop=loop.stop,
        collectors=(loop.metrics,),
    )


class _Loop:
    """What lives from the start of the service to its end."""

    def __init__(self, config: LoopConfig) -> None:
        self._config = config
        self._store = open_store(config.store_uri, s3=config.s3)
        self._database = Database(config.database)
        self._works = WorkStore(self._database)
        self._bulk = Bulk(scheduler=config.scheduler, threads=config.threads)
        self._peers: Peers | None = None
        self._controller: Controller | None = None
        self.metrics = LoopMetrics()

    def register(self, server: grpc.aio.Server) -> None:
        # Channels belong to the event loop of the server, which is running by now.
        self._peers = Peers(addresses(self._config))
        self._controller = Controller(
            self._works,
            Means(self._store, self._peers, self._bulk),
            pace=Pace(self._config.poll_seconds, self._config.claim_seconds),
            metrics=self.metrics,
        )
        servicer = LoopServicer(
            self._works,
            self._controller,
            self._store,
            LiveRounds(self._works, self._peers),
            References(self._works, self._peers, self._store),
            poll_seconds=self._config.poll_seconds,
        )
        service_grpc.add_LoopServiceServicer_to_server(servicer, server)

    async def start(self) -> None:
        await migrate(self._database, _MIGRATIONS, version_table=VERSION_TABLE)
        assert self._controller is not None
        self._controller.start()

    async def stop(self) -> None:
        if self._controller is not None:
            await self._controller.stop()
        if self._peers is not None:
            await self._peers.close()
        await in_thread(self._bulk.close)
        await self._database.close()


def addresses(config: LoopConfig) -> Addresses:
    """Return where the services answer, with the token that they are called with."""
    token = Path(config.token_file).read_text().strip() if config.token_file else ""
    files = (config.peer_ca_file, config.peer_certificate_file)
    show = partial(
        Address,
        token=token,
        ca_file=config.peer_ca_file if config.peer_tls or any(files) else None,
        certificate_file=config.peer_certificate_file,
        key_file=config.peer_key_file,
    )
    return Addresses(
        labels=show(config.labels),
        inference=show(config.inference),
        embedding=show(config.embedding),
        suggestion=show(config.suggestion),
        training=show(config.training),
    )
