"""The label store: each method is one transaction, or as few as it can be."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from parfocal_labels import (
    corrections,
    labels,
    leases,
    projects,
    queries,
    results,
    snapshots,
    submissions,
)
from parfocal_labels.agreement import Agreement
from parfocal_labels.answering import Again
from parfocal_labels.disclosure import SEES_ALL, Reader
from parfocal_labels.exchange import Exchange
from parfocal_labels.handing_out import Wish
from parfocal_labels.judging import Submission
from parfocal_labels.lanes import Lanes
from parfocal_labels.paging import Page, PageRequest
from parfocal_labels.projects import Hold, find_project
from parfocal_labels.records import (
    Label,
    LabelEvent,
    Lease,
    Progress,
    Project,
    ProjectChange,
    Query,
    QueryConsensus,
    QuerySpec,
    QueryState,
    Rules,
    Skip,
    Snapshot,
    Vote,
)
from parfocal_labels.reviews import Reviews
from parfocal_labels.schema import CHANNEL
from parfocal_labels.settling import settle_project, settles_differently
from parfocal_labels.skips import skip_queries
from parfocal_labels.statistics import ProjectStatistics, project_statistics
from parfocal_labels.watch import Bell, rung
from parfocal_labels.weighing import RecentPosteriors
from parfocal_runtime.database import Database
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.layout import snapshot_table as snapshot_path
from parfocal_runtime.listening import listen
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import table_bytes
from parfocal_runtime.tasks import in_thread

Clock = Callable[[], datetime]

_EVENTS_AT_ONCE = 500


def system_clock() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class LabelStore:
    """Projects, their queues and their labels, in one database.

    Every method that names a project raises `NotFound` if there is none of that name
    (`ERROR_REASON_PROJECT_NOT_FOUND`), and `Unavailable` if the database does not answer.

    Attributes:
        reviews: The part for those who look after the quality of labels.
        exchange: The part that gives labels to other programs and takes labels from them.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        *,
        clock: Clock = system_clock,
        poll_seconds: float = 1.0,
    ) -> None:
        """Serve what `database` holds.

        Args:
            database: Where everything is, at the present schema.
            objects: Where snapshots go.
            clock: Gives the present time; all replicas must agree on it within a small part of
                the shortest lease.
            poll_seconds: How soon a watcher sees what another process wrote.
        """
        self._database = database
        self._objects = objects
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._bell = Bell()
        self._lanes = Lanes(database.transactions, clock=clock, written=self._bell.ring)
        self._posteriors = RecentPosteriors()
        self.reviews = Reviews(database, clock=clock, written=self._bell.ring)
        self.exchange = Exchange(database, objects, clock=clock, written=self._bell.ring)

    async def create_project(self, name: str, *, display_name: str, rules: Rules) -> Project:
        """Create a project, or return the one that has this name and these rules.

        Raises:
            AlreadyExists: If the name is taken by other rules (`ERROR_REASON_PROJECT_EXISTS`).
        """
        async with self._database.write() as connection:
            return await projects.create_project(
                connection, name, display_name=display_name, rules=rules, now=self._clock()
            )

    async def project(self, name: str) -> Project:
        """Return a project."""
        async with self._database.read() as connection:
            return await find_project(connection, name)

    async def list_projects(
        self, page: PageRequest, *, only: Collection[str] | None = None
    ) -> Page[Project]:
        """Return projects by name; where `only` is given, those of these names."""
        async with self._database.read() as connection:
            return await projects.list_projects(connection, page, only=only)

    async def update_project(
        self, name: str, change: ProjectChange, *, revision: int | None = None
    ) -> Project:
        """Give a project new values; its queries follow the new rules from then on.

        Raises:
            Conflict: If it is not at `revision` any more (`ERROR_REASON_ETAG_MISMATCH`).
            InvalidInput: If it cannot change so (`ERROR_REASON_INVALID_FIELD`).
        """
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.ALL)
            changed = await projects.change_project(
                connection, project, change, revision=revision, now=self._clock()
            )
            if settles_differently(project.rules, changed.rules):
                await settle_project(connection, changed)
            return changed

    async def add_queries(
        self, name: str, specs: Sequence[QuerySpec], *, caller: str, request_id: str = ""
    ) -> int:
        """Add the queries that the project lacks, all or none; return how many were new.

        Raises:
            AlreadyExists: If `caller` used `request_id` for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            InvalidInput: If the answer of a gold query is not what the project asks for.
        """
        content, now = submissions.content_sha256("AddQueries", tuple(specs)), self._clock()
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.NUMBERS)
            call = {"caller": caller, "request_id": request_id, "content": content}
            if request_id:
                added = await submissions.earlier_outcome(connection, project, **call)
                if added is not None:
                    return int(added)
            added = await queries.add_queries(connection, project, specs, now=now)
            if request_id:
                await submissions.remember_outcome(
                    connection, project, **call, outcome=added, now=now
                )
            return added

    async def withdraw_queries(self, name: str, round_: str) -> int:
        """Withdraw the undecided queries of a round; return how many."""
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.ALL)
            return await queries.withdraw_round(connection, project, round_)

    async def list_queries(
        self,
        name: str,
        page: PageRequest,
        *,
        round_: str = "",
        states: Collection[QueryState] = (),
        reader: Reader = SEES_ALL,
    ) -> Page[Query]:
        """Return queries by round and rank, in all states or in `states`, as `reader` sees them."""
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            listed = await queries.list_queries(
                connection, project, page, round_=round_, states=states, gold=reader.sees_all
            )
        items = tuple(reader.query(query, project) for query in listed.items)
        return Page(items, listed.next_key)

    async def lease_queries(
        self,
        name: str,
        annotator: str,
        *,
        count: int,
        ttl: timedelta,
        round_: str = "",
        reader: Reader = SEES_ALL,
    ) -> list[Lease]:
        """Hand the next queries to `annotator` for `ttl`, by priority, then rank.

        Nobody gets a query that they have answered, skipped or hold, or that takes a skill they
        lack, and never more people hold a query than votes are missing. They get them as `reader`
        sees them.

        Raises:
            PermissionDenied: If the annotator is suspended (`ERROR_REASON_ANNOTATOR_SUSPENDED`).
        """
        wish = Wish(annotator, count, round_, ttl // timedelta(microseconds=1), reader)
        return await self._lanes.leases.ask(name, wish)

    async def renew_leases(
        self, name: str, annotator: str, ids: Collection[int], *, ttl: timedelta
    ) -> tuple[set[int], datetime]:
        """Prolong leases; return the queries that `annotator` still holds, and until when."""
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.RULES)
            locked = await queries.lock_queries(connection, project, ids)
            # Read now, when nothing has to be waited for any more.
            now = self._clock()
            held = await leases.renew_leases(
                connection, project, annotator, locked, now=now, until=now + ttl
            )
        return held, now + ttl

    async def release_queries(self, name: str, annotator: str, ids: Collection[int]) -> int:
        """Give leases back; return how many `annotator` had."""
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.RULES)
            locked = await queries.lock_queries(connection, project, ids)
            return await leases.release_queries(connection, project, annotator, locked)

    async def skip_queries(
        self, name: str, annotator: str, asked: Sequence[Skip], *, request_id: str
    ) -> int:
        """End leases of `annotator` for good, all or none; return how many queries are skipped.

        The same call again changes nothing.

        Raises:
            AlreadyExists: If `annotator` used `request_id` for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            NotFound: If a query does not exist (`ERROR_REASON_QUERY_NOT_FOUND`).
            WrongState: If one is not leased by `annotator` (`ERROR_REASON_QUERY_NOT_LEASED`).
        """
        content, now = submissions.content_sha256("SkipQueries", tuple(asked)), self._clock()
        call = {"caller": annotator, "request_id": request_id, "content": content}
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.NUMBERS)
            skipped = await submissions.earlier_outcome(connection, project, **call)
            if skipped is None:
                skipped = await skip_queries(connection, project, annotator, asked, now=now)
                await submissions.remember_outcome(
                    connection, project, **call, outcome=skipped, now=now
                )
            return int(skipped)

    async def submit_labels(
        self,
        name: str,
        annotator: str,
        votes: Sequence[Vote],
        *,
        request_id: str,
        client: str = "",
        reader: Reader = SEES_ALL,
    ) -> list[Label]:
        """Turn answers into labels, all or none; what is returned is on disk.

        The same call again returns the same labels.

        Raises:
            InvalidInput: If an answer is not what the project asks for.
            AlreadyExists: If `annotator` used `request_id` for something else
                (`ERROR_REASON_REQUEST_ID_REUSED`).
            NotFound: If a query does not exist (`ERROR_REASON_QUERY_NOT_FOUND`).
            WrongState: If a query is decided (`ERROR_REASON_QUERY_ALREADY_DECIDED`) or not leased
                by `annotator` (`ERROR_REASON_QUERY_NOT_LEASED`).
        """
        content = submissions.content_sha256("SubmitLabels", tuple(votes), client)
        call = Submission(annotator, tuple(votes), request_id, content, client, reader)
        answered = await self._lanes.answers.ask(name, call)
        if not isinstance(answered, Again):
            return answered
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            found = await labels.find_labels(connection, project, answered.sequences)
        return [reader.label(label, project) for label in found]

    async def retract_label(
        self,
        name: str,
        sequence: int,
        *,
        caller: str,
        of_anybody: bool = False,
        reader: Reader = SEES_ALL,
    ) -> Label:
        """Take a label back; its query waits for a vote again. A second time changes nothing.

        Raises:
            NotFound: If there is no such label (`ERROR_REASON_LABEL_NOT_FOUND`).
            PermissionDenied: If it is not the caller's, unless `of_anybody`
                (`ERROR_REASON_LABEL_NOT_YOURS`).
        """
        async with self._database.write() as connection:
            project = await find_project(connection, name, hold=Hold.NUMBERS)
            [label] = await labels.find_labels(connection, project, [sequence])
            if not of_anybody:
                corrections.require_own(project, label, caller=caller)
            if not label.retracted:
                await corrections.retract_label(
                    connection, project, label, caller=caller, now=self._clock()
                )
            [retracted] = await labels.find_labels(connection, project, [sequence])
        self._bell.ring(project.id)
        return reader.label(retracted, project)

    async def list_labels(
        self, name: str, page: PageRequest, *, round_: str = "", reader: Reader = SEES_ALL
    ) -> Page[Label]:
        """Return the labels that `reader` sees by sequence, those taken back among them."""
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            listed = await labels.list_labels(
                connection, project, page, round_=round_, annotator=reader.labels_of(project)
            )
        items = tuple(reader.label(label, project) for label in listed.items)
        return Page(items, listed.next_key)

    async def listen(self) -> None:
        """Wake watchers when another process writes, until cancelled; on SQLite there is none."""
        if self._database.is_postgresql:
            await listen(self._database.url, CHANNEL, self._bell.hear)

    async def watch_labels(
        self,
        name: str,
        *,
        after: int = 0,
        until_present: bool = False,
        reader: Reader = SEES_ALL,
    ) -> AsyncIterator[LabelEvent]:
        """Yield the events after sequence number `after` in order, and then those that come.

        Args:
            name: The project.
            after: The last event that the caller has; 0 for none.
            until_present: Whether to end once there are no more now.
            reader: Who watches.

        Raises:
            InvalidInput: If there is no such event yet (`ERROR_REASON_INVALID_FIELD`), as after
                the database was put back to an earlier state: what comes would be missed.
            PermissionDenied: If the project is, or becomes, blind for the reader
                (`ERROR_REASON_PROJECT_BLIND`).
        """
        project = await self.project(name)
        reader.require_open(project)
        if after > project.last_sequence:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"after_sequence must be at most {project.last_sequence}, the last event of"
                f" projects/{name}, got {after}",
                field="after_sequence",
                value=after,
            )
        while True:
            event = self._bell.listen(project.id)
            async with self._database.read() as connection:
                project = await find_project(connection, name)
                reader.require_open(project)
                news = await labels.list_events(
                    connection, project, after=after, count=_EVENTS_AT_ONCE
                )
            for each in news:
                yield reader.event(each, project)
                after = each.sequence
            if len(news) < _EVENTS_AT_ONCE:
                if until_present:
                    return
                await rung(event, seconds=self._poll_seconds)

    async def list_consensus(
        self,
        name: str,
        page: PageRequest,
        *,
        round_: str = "",
        decided_only: bool = False,
        reader: Reader = SEES_ALL,
    ) -> Page[QueryConsensus]:
        """Return the consensus of queries by round and rank.

        Raises:
            PermissionDenied: If the project is blind for the reader
                (`ERROR_REASON_PROJECT_BLIND`).
        """
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            reader.require_open(project)
            return await results.list_consensus(
                connection,
                project,
                page,
                posteriors=self._posteriors,
                round_=round_,
                decided_only=decided_only,
            )

    async def create_snapshot(self, name: str, *, rounds: Collection[str] = ()) -> Snapshot:
        """Write the decided queries of a project, or of some rounds, to an immutable file."""
        items: list[QueryConsensus] = []
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            for round_ in sorted(set(rounds)) or [""]:
                decided = results.decided_consensus(
                    connection, project, posteriors=self._posteriors, round_=round_
                )
                items += [item async for item in decided]
        path, sha256 = await in_thread(self._write_snapshot, project, items)
        async with self._database.write() as connection:
            return await snapshots.note_snapshot(
                connection, project, sha256=sha256, path=path, rows=len(items), now=self._clock()
            )

    def _write_snapshot(self, project: Project, items: list[QueryConsensus]) -> tuple[str, str]:
        data = table_bytes(snapshots.snapshot_table(items))
        sha256 = hashlib.sha256(data).hexdigest()
        path = snapshot_path(project.name, sha256)
        self._objects.create(path, data)
        return path, sha256

    async def agreement(self, name: str, *, round_: str = "") -> Agreement:
        """Return how far annotators agree where queries have several votes."""
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            return await results.project_agreement(connection, project, round_=round_)

    async def progress(
        self,
        name: str,
        *,
        round_: str = "",
        count_answers: bool = False,
        reader: Reader = SEES_ALL,
    ) -> Progress:
        """Return the counts of a project or one of its rounds.

        Raises:
            PermissionDenied: If answers are to be counted too and the project is blind for the
                reader (`ERROR_REASON_PROJECT_BLIND`).
        """
        async with self._database.read() as connection:
            project = await find_project(connection, name)
            progress = await results.project_progress(
                connection, project, now=self._clock(), round_=round_
            )
            if not count_answers:
                return progress
            reader.require_open(project)
            answers = await results.decided_answers(
                connection, project, posteriors=self._posteriors, round_=round_
            )
        return replace(progress, answers=answers)

    async def statistics(self) -> list[ProjectStatistics]:
        """Return figures of every project for those who watch over the service."""
        async with self._database.read() as connection:
            return await project_statistics(connection, now=self._clock())
