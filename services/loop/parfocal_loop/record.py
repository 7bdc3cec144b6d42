"""The stored status of one round or job while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.errors import Unavailable

_SECONDS = 0.5


class Record:
    """Stores a status whenever it differs from what is stored.

    Attributes:
        status: The status, as the steps write into it.
    """

    def __init__(
        self,
        works: WorkStore,
        owner: str,
        key: WorkKey,
        status: rounds.RoundStatus | jobs.JobStatus,
    ) -> None:
        self.status = status
        self._works = works
        self._owner = owner
        self._key = key
        self._stored = b""

    async def save(self, *, finished: bool = False) -> None:
        """Store the status if it changed.

        Raises:
            TakenOver: If another controller has taken over.
        """
        now = self.status.SerializeToString(deterministic=True)
        if now != self._stored or finished:
            await self._works.save(self._key, self._owner, status=now, finished=finished)
            self._stored = now

    @asynccontextmanager
    async def saved_regularly(self) -> AsyncIterator[None]:
        """Store the status again and again inside the block, so that watchers see progress."""
        saving = asyncio.create_task(self._save_again_and_again())
        try:
            yield
        finally:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)

    async def _save_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            with suppress(Unavailable):
                await self.save()
