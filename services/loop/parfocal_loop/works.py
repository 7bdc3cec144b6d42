"""Rounds and jobs as rows: created once, claimed by one controller at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from parfocal_loop.schema import WORK
from parfocal_runtime.database import Database
from parfocal_runtime.errors import AlreadyExists, Conflict, NotFound, WrongState


@dataclass(frozen=True, order=True)
class WorkKey:
    """Which round or job.

    Attributes:
        project: The project it belongs to.
        kind: `round` or `job`.
        id: Its own name.
    """

    project: str
    kind: str
    id: str

    @property
    def name(self) -> str:
        """The resource name, such as `projects/p/rounds/r`."""
        return f"projects/{self.project}/{self.kind}s/{self.id}"


@dataclass(frozen=True)
class Work:
    """One row.

    Attributes:
        key: Which round or job.
        spec: What is wanted, serialized.
        status: What exists, serialized.
        finished: Whether it is over.
        cancel_requested: Whether somebody asked to stop it.
        revision: Rises with every change.
        create_time: Seconds since 1970.
        update_time: Seconds since 1970.
    """

    key: WorkKey
    spec: bytes
    status: bytes
    finished: bool
    cancel_requested: bool
    revision: int
    create_time: float
    update_time: float


class TakenOver(Conflict):
    """Another controller is at the row; trying again would not give it back."""


class WorkStore:
    """The table of rounds and jobs."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, key: WorkKey, *, spec: bytes, status: bytes) -> Work:
        """Create a row, or return the one that is there.

        Raises:
            AlreadyExists: If the name is taken by another spec (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        now = self._clock()
        row = {
            "project": key.project,
            "kind": key.kind,
            "id": key.id,
            "spec": spec,
            "status": status,
            "finished": False,
            "cancel_requested": False,
            "revision": 1,
            "owner": "",
            "claimed_until": 0.0,
            "create_time": now,
            "update_time": now,
        }
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(WORK).values(**row))
        except IntegrityError:
            return await self._same_as(key, spec)
        return await self.get(key)

    async def _same_as(self, key: WorkKey, spec: bytes) -> Work:
        present = await self.get(key)
        if present.spec != spec:
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS",
                f"{key.name} exists and asks for something else",
                name=key.name,
            )
        return present

    async def get(self, key: WorkKey) -> Work:
        """Return one row.

        Raises:
            NotFound: If there is none (`ERROR_REASON_WORK_NOT_FOUND`).
        """
        async with self._database.read() as connection:
            row = (await connection.execute(select(WORK).where(_is(key)))).first()
        if row is None:
            raise NotFound("ERROR_REASON_WORK_NOT_FOUND", f"there is no {key.name}", name=key.name)
        return _work(row)

    async def exists(self, key: WorkKey) -> bool:
        """Return whether there is such a row."""
        async with self._database.read() as connection:
            return (await connection.execute(select(WORK.c.id).where(_is(key)))).first() is not None

    async def page(
        self, project: str, kind: str, *, limit: int, before: tuple[float, str] | None = None
    ) -> list[Work]:
        """Return at most `limit` rows, newest first, older than `before` (time, id)."""
        query = select(WORK).where(WORK.c.project == project, WORK.c.kind == kind)
        if before is not None:
            created, name = before
            query = query.where(
                or_(
                    WORK.c.create_time < created,
                    and_(WORK.c.create_time == created, WORK.c.id < name),
                )
            )
        query = query.order_by(WORK.c.create_time.desc(), WORK.c.id.desc()).limit(limit)
        async with self._database.read() as connection:
            return [_work(row) for row in await connection.execute(query)]

    async def request_cancel(self, key: WorkKey) -> Work:
        """Note that a row shall be stopped.

        Raises:
            NotFound: If there is none.
            WrongState: If it is over (`ERROR_REASON_WORK_FINISHED`).
        """
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(WORK)
                .where(_is(key), WORK.c.finished.is_(False))
                .values(
                    cancel_requested=True,
                    revision=WORK.c.revision + 1,
                    update_time=self._clock(),
                )
            )
        work = await self.get(key)
        if changed.rowcount == 0:
            raise WrongState(
                "ERROR_REASON_WORK_FINISHED", f"{key.name} is over", name=key.name, state="finished"
            )
        return work

    async def reopen(self, work: Work, *, status: bytes) -> Work:
        """Make a row that is over unfinished again, with this status.

        Raises:
            Conflict: If it has changed since it was read (`ERROR_REASON_ETAG_MISMATCH`).
        """
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(WORK)
                .where(_is(work.key), WORK.c.revision == work.revision)
                .values(
                    status=status,
                    finished=False,
                    cancel_requested=False,
                    owner="",
                    claimed_until=0.0,
                    revision=WORK.c.revision + 1,
                    update_time=self._clock(),
                )
            )
        if changed.rowcount != 1:
            raise Conflict(
                "ERROR_REASON_ETAG_MISMATCH",
                f"{work.key.name} has changed meanwhile",
                name=work.key.name,
            )
        return await self.get(work.key)

    async def claim(self, owner: str, *, seconds: float) -> list[Work]:
        """Take every unfinished row that nobody is at, and return the ones that were taken."""
        now = self._clock()
        free = and_(WORK.c.finished.is_(False), WORK.c.claimed_until <= now)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(WORK).where(free))).all()
        taken = []
        for row in rows:
            work = _work(row)
            async with self._database.write() as connection:
                changed = await connection.execute(
                    update(WORK)
                    .where(_is(work.key), free)
                    .values(owner=owner, claimed_until=now + seconds)
                )
            if changed.rowcount == 1:
                taken.append(await self.get(work.key))
        return taken

    async def renew(self, owner: str, *, seconds: float) -> dict[WorkKey, bool]:
        """Prolong all claims of `owner`; return what it holds and whether each shall stop."""
        mine = and_(WORK.c.owner == owner, WORK.c.finished.is_(False))
        async with self._database.write() as connection:
            await connection.execute(
                update(WORK).where(mine).values(claimed_until=self._clock() + seconds)
            )
            rows = (await connection.execute(select(WORK).where(mine))).all()
        return {work.key: work.cancel_requested for work in map(_work, rows)}

    async def release(self, owner: str) -> None:
        """Give all claims of `owner` back at once."""
        async with self._database.write() as connection:
            await connection.execute(
                update(WORK).where(WORK.c.owner == owner).values(owner="", claimed_until=0.0)
            )

    async def save(self, key: WorkKey, owner: str, *, status: bytes, finished: bool) -> None:
        """Store what exists now, as the controller that is at it.

        Raises:
            TakenOver: If another controller is at it (`ERROR_REASON_ETAG_MISMATCH`).
        """
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(WORK)
                .where(_is(key), WORK.c.owner == owner)
                .values(
                    status=status,
                    finished=finished,
                    revision=WORK.c.revision + 1,
                    update_time=self._clock(),
                )
            )
        if changed.rowcount != 1:
            raise TakenOver(
                "ERROR_REASON_ETAG_MISMATCH",
                f"another controller has taken over {key.name}",
                name=key.name,
            )


def _is(key: WorkKey) -> Any:
    return and_(WORK.c.project == key.project, WORK.c.kind == key.kind, WORK.c.id == key.id)


def _work(row: Row[Any]) -> Work:
    return Work(
        key=WorkKey(row.project, row.kind, row.id),
        spec=row.spec,
        status=row.status,
        finished=row.finished,
        cancel_requested=row.cancel_requested,
        revision=row.revision,
        create_time=row.create_time,
        update_time=row.update_time,
    )
