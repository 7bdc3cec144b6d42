"""Following the labels of a project as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict


class Bell:
    """Wakes those in this process who wait for something new in a project.

    It only saves them waiting: what is new is read from the table. Writers in other processes are
    heard through PostgreSQL; whoever misses a ring looks again after a while.
    """

    def __init__(self) -> None:
        self._rung: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, project: int) -> None:
        """Wake everybody who waits for `project`."""
        event = self._rung.pop(project, None)
        if event is not None:
            event.set()

    def ring_all(self) -> None:
        """Wake everybody."""
        for project in list(self._rung):
            self.ring(project)

    def hear(self, payload: str) -> None:
        """Ring for the project of a notification; an empty one is about any."""
        if payload.isdecimal():
            self.ring(int(payload))
        else:
            self.ring_all()

    def listen(self, project: int) -> asyncio.Event:
        """Return an event of the next ring; take it before reading, so that none is missed."""
        return self._rung[project]


async def rung(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for `event`, but not longer than `seconds`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
