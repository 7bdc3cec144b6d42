"""The part of the label store that gives labels to other programs and takes labels from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from parfocal_labels import imports, snapshots, submissions
from parfocal_labels.exports import Export, Exported, export_snapshot
from parfocal_labels.imports import ImportedLabel
from parfocal_labels.projects import Hold, find_project
from parfocal_runtime.database import Database
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag, in_thread


class Exchange:
    """Exports of snapshots, and imports of labels."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        *,
        clock: Callable[[], datetime],
        written: Callable[[int], None],
    ) -> None:
        """Serve what `database` and `objects` hold.

        Args:
            database: Where labels are.
            objects: Where snapshots, candidate sets and exports are.
            clock: Gives the present time.
            written: Told the number of a project that has new labels.
        """
        self._database = database
        self._objects = objects
        self._clock = clock
        self._written = written

    async def export_snapshot(self, name: str, sha256: str, export: Export) -> Exported:
        """Write a snapshot of a project in another format, unless it is there already.

        Raises:
            NotFound: If there is no such snapshot (`ERROR_REASON_SNAPSHOT_NOT_FOUND`).
            WrongState: If what the format needs is missing (`ERROR_REASON_EXPORT_IMPOSSIBLE`).
        """
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            snapshot = await snapshots.find_snapshot(connection, project, sha256)
        return await in_thread(
            export_snapshot, self._objects, snapshot, export, cancel=CancelFlag()
        )

    async def import_labels(
        self,
        name: str,
        labels: Sequence[ImportedLabel],
        *,
        caller: str,
        request_id: str,
        client: str = "",
    ) -> int:
        """Add labels that were given elsewhere, all or none; return how many were new.

        The same call again is answered as the first time.

        Raises:
            AlreadyExists: If `caller` used `request_id` for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            InvalidInput: If an answer is not what the project asks for.
            WrongState: If a query is a gold one (`ERROR_REASON_QUERY_ROLE_UNFIT`) or withdrawn
                (`ERROR_REASON_QUERY_WITHDRAWN`).
        """
        content = submissions.content_sha256("ImportLabels", tuple(labels), client)
        call = {"caller": caller, "request_id": request_id, "content": content}
        now = self._clock()
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.NUMBERS)
            added = await submissions.earlier_outcome(connection, project, **call)
            if added is not None:
                return int(added)
            added = await imports.import_labels(connection, project, labels, client=client, now=now)
            await submissions.remember_outcome(connection, project, **call, outcome=added, now=now)
        self._written(project.id)
        return added
