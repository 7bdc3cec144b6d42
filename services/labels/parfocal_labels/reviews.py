"""The part of the label store for those who look after the quality of labels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels import annotators, corrections, labels, submissions
from parfocal_labels.annotators import Annotator, AnnotatorChange
from parfocal_labels.disclosure import SEES_ALL, Reader
from parfocal_labels.paging import Page, PageRequest
from parfocal_labels.projects import Hold, find_project
from parfocal_labels.records import Label, Project, Vote
from parfocal_runtime.database import Database

_Note = Callable[[AsyncConnection, Project], Awaitable[int]]


class Reviews:
    """Corrections of labels, and what annotators may judge and how well they do.

    Every method raises `NotFound` if there is no project of that name
    (`ERROR_REASON_PROJECT_NOT_FOUND`), and `Unavailable` if the database does not answer.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        written: Callable[[int], None],
    ) -> None:
        """Serve what `database` holds.

        Args:
            database: Where everything is, at the present schema.
            clock: Gives the present time.
            written: Told the number of a project that has new events.
        """
        self._database = database
        self._clock = clock
        self._written = written

    async def revise_label(
        self,
        name: str,
        sequence: int,
        vote: Vote,
        *,
        caller: str,
        request_id: str,
        client: str = "",
        reader: Reader = SEES_ALL,
    ) -> Label:
        """Put another answer in the place of a label of the caller's; both stay in the history.

        The same call again returns the same label.

        Args:
            name: The project.
            sequence: The label to replace.
            vote: The new answer; its query is ignored.
            caller: Who calls.
            request_id: What names the call among the caller's.
            client: The program that sends it.
            reader: What the caller may see.

        Raises:
            InvalidInput: If the answer is not what the project asks for.
            AlreadyExists: If `request_id` was used for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            NotFound: If there is no such label (`ERROR_REASON_LABEL_NOT_FOUND`).
            PermissionDenied: If it is somebody else's (`ERROR_REASON_LABEL_NOT_YOURS`).
            WrongState: If it was taken back or replaced (`ERROR_REASON_LABEL_RETRACTED`).
        """

        async def note(connection: AsyncConnection, project: Project) -> int:
            [label] = await labels.find_labels(connection, project, [sequence])
            corrections.require_own(project, label, caller=caller)
            return await corrections.revise_label(
                connection, project, label, vote, client=client, now=self._clock()
            )

        answer = (vote.answer, vote.seconds, vote.tags)
        content = submissions.content_sha256("ReviseLabel", sequence, answer, client)
        return await self._once(name, note, caller, request_id, content, reader)

    async def adjudicate_query(
        self, name: str, vote: Vote, *, curator: str, request_id: str, client: str = ""
    ) -> Label:
        """Decide a query, whatever its votes say or will say, until this label is taken back.

        The same call again returns the same label.

        Raises:
            InvalidInput: If the answer is not what the project asks for.
            AlreadyExists: If `request_id` was used for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            NotFound: If there is no such query (`ERROR_REASON_QUERY_NOT_FOUND`).
            WrongState: If it is a gold query (`ERROR_REASON_QUERY_ROLE_UNFIT`) or withdrawn
                (`ERROR_REASON_QUERY_WITHDRAWN`).
        """

        async def note(connection: AsyncConnection, project: Project) -> int:
            return await corrections.adjudicate_query(
                connection, project, vote, curator=curator, client=client, now=self._clock()
            )

        content = submissions.content_sha256("AdjudicateQuery", vote, client)
        return await self._once(name, note, curator, request_id, content, SEES_ALL)

    async def _once(
        self,
        name: str,
        note: _Note,
        caller: str,
        request_id: str,
        content: str,
        reader: Reader,
    ) -> Label:
        """Write a label with `note`, unless the same call did before, and return the label."""
        call = {"caller": caller, "request_id": request_id, "content": content}
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.NUMBERS)
            sequence = await submissions.earlier_outcome(connection, project, **call)
            if sequence is None:
                sequence = await note(connection, project)
                await submissions.remember_outcome(
                    connection, project, **call, outcome=sequence, now=self._clock()
                )
            [label] = await labels.find_labels(connection, project, [sequence])
        self._written(project.id)
        return reader.label(label, project)

    async def update_annotator(self, name: str, change: AnnotatorChange) -> Annotator:
        """Give an annotator new values, who is added if the project does not know them."""
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.RULES)
            return await annotators.change_annotator(connection, project, change, now=self._clock())

    async def list_annotators(self, name: str, page: PageRequest) -> Page[Annotator]:
        """Return annotators by name, with their counts."""
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            return await annotators.list_annotators(connection, project, page)
