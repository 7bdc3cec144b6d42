"""Queries and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration

from parfocal._choices import chosen
from parfocal._connection import Connection
from parfocal._names import last_part, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal.labels.v1 import labels_service_pb2 as messages
from parfocal.labels.v1.label_pb2 import (
    VERDICT_FALSE,
    VERDICT_TRUE,
    VERDICT_UNSURE,
    Consensus,
    Label,
    LabelEvent,
    Snapshot,
)
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal.labels.v1.query_pb2 import (
    QUERY_STATE_DECIDED,
    QUERY_STATE_DISPUTED,
    QUERY_STATE_GOLD,
    QUERY_STATE_OPEN,
    QUERY_STATE_UNSPECIFIED,
    QUERY_STATE_WITHDRAWN,
    LeasedQuery,
    Query,
    QueryState,
)

Answer = bool | str | None
"""True or False on the proposed mask, the name of a class, or None for unsure."""

State = Literal["open", "decided", "withdrawn", "disputed", "gold"]
"""What becomes of a query."""

_VERDICTS = {True: VERDICT_TRUE, False: VERDICT_FALSE, None: VERDICT_UNSURE}
_STATES: dict[State | None, QueryState.ValueType] = {
    None: QUERY_STATE_UNSPECIFIED,
    "open": QUERY_STATE_OPEN,
    "decided": QUERY_STATE_DECIDED,
    "withdrawn": QUERY_STATE_WITHDRAWN,
    "disputed": QUERY_STATE_DISPUTED,
    "gold": QUERY_STATE_GOLD,
}
_CLIENT = "parfocal-python/0.1.0"
_LABELS_AT_ONCE = 1000
# The objects of a large image are read whole.
_LONG_SECONDS = 3600.0
_FORMATS = {
    "csv": messages.EXPORT_FORMAT_CSV,
    "coco": messages.EXPORT_FORMAT_COCO,
    "ome-zarr": messages.EXPORT_FORMAT_OME_ZARR,
    "neuroglancer": messages.EXPORT_FORMAT_NEUROGLANCER,
}


class Labels:
    """The queue of queries, what people answer, and what it adds up to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = LabelsServiceStub(connection.channel)

    def lease(
        self, project: str, *, count: int = 20, round: str = "", ttl_seconds: float = 300
    ) -> list[LeasedQuery]:
        """Take the next queries for the caller to answer; an empty list means none is left now.

        Args:
            project: Name of the project.
            count: At most this many.
            round: Only queries of this round.
            ttl_seconds: How long the caller may hold them; `renew` prolongs it.

        Example:
            >>> for leased in client.labels.lease("vnc", count=5):  # doctest: +SKIP
            ...     print(leased.query.name, leased.query.reason)
        """
        request = messages.LeaseQueriesRequest(
            parent=project_name(project),
            count=count,
            ttl=_duration(ttl_seconds),
            round=last_part(round),
        )
        return list(self._connection.call(self._stub.LeaseQueries, request).queries)

    def renew(self, project: str, queries: Iterable[str], *, ttl_seconds: float = 300) -> list[str]:
        """Prolong leases; return the names of the queries that the caller still holds.

        Example:
            >>> held = client.labels.renew("vnc", [query.name])  # doctest: +SKIP
        """
        request = messages.RenewLeasesRequest(
            parent=project_name(project), queries=queries, ttl=_duration(ttl_seconds)
        )
        return list(self._connection.call(self._stub.RenewLeases, request).queries)

    def release(self, project: str, queries: Iterable[str]) -> int:
        """Give leases back before they end; return how many were given back.

        Example:
            >>> client.labels.release("vnc", [query.name])  # doctest: +SKIP
            1
        """
        request = messages.ReleaseQueriesRequest(parent=project_name(project), queries=queries)
        return self._connection.call(self._stub.ReleaseQueries, request).released

    def skip(
        self, project: str, reasons: Mapping[str, str], *, request_id: str | None = None
    ) -> int:
        """Give leased queries back for good, all or none; they are not handed out to one again.

        Args:
            project: Name of the project.
            reasons: By the query's name: why, such as `out-of-focus`.
            request_id: Makes it safe to send again; a fresh one is made if none is given.

        Returns:
            How many queries are skipped now.

        Raises:
            ConflictError: If a query is not leased by the caller; nothing is skipped then.

        Example:
            >>> client.labels.skip("vnc", {query.name: "out-of-focus"})  # doctest: +SKIP
            1
        """
        request = messages.SkipQueriesRequest(
            parent=project_name(project),
            skips=[messages.Skip(query=query, reason=why) for query, why in reasons.items()],
            request_id=request_id or uuid4().hex,
        )
        return self._connection.call(self._stub.SkipQueries, request).skipped

    def submit(
        self,
        project: str,
        answers: Mapping[str, Answer],
        *,
        seconds: Mapping[str, float] | None = None,
        tags: Mapping[str, Iterable[str]] | None = None,
        request_id: str | None = None,
    ) -> list[Label]:
        """Submit answers to leased queries, all or none; acknowledged ones are on disk.

        Args:
            project: Name of the project.
            answers: By the query's name: True or False, a class, or None for unsure.
            seconds: By the query's name: how long it took.
            tags: By the query's name: free words, such as `out-of-focus`.
            request_id: Makes it safe to send again; a fresh one is made if none is given.

        Returns:
            The labels, in the order of the answers.

        Raises:
            ConflictError: If a query is not leased by the caller or has all its votes; nothing
                is stored then.

        Example:
            >>> leased = client.labels.lease("vnc")  # doctest: +SKIP
            >>> client.labels.submit(  # doctest: +SKIP
            ...     "vnc", {each.query.name: True for each in leased}
            ... )
        """
        took, words = seconds or {}, tags or {}
        request = messages.SubmitLabelsRequest(
            parent=project_name(project),
            answers=[
                _answer(answer, query, seconds=took.get(query, 0), tags=words.get(query, ()))
                for query, answer in answers.items()
            ],
            request_id=request_id or uuid4().hex,
            client=_CLIENT,
        )
        return list(self._connection.call(self._stub.SubmitLabels, request).labels)

    def retract(self, label: str) -> Label:
        """Take a label back: one's own, or as a curator anybody's.

        Example:
            >>> client.labels.retract("projects/vnc/labels/17")  # doctest: +SKIP
        """
        request = messages.RetractLabelRequest(name=label)
        return self._connection.call(self._stub.RetractLabel, request)

    def revise(
        self,
        label: str,
        answer: Answer,
        *,
        seconds: float = 0,
        tags: Iterable[str] = (),
        request_id: str | None = None,
    ) -> Label:
        """Put another answer in the place of one's own label; both stay in the history.

        Raises:
            AccessError: If the label is somebody else's.
            ConflictError: If it was taken back or replaced already.

        Example:
            >>> client.labels.revise("projects/vnc/labels/17", False).revises  # doctest: +SKIP
            'projects/vnc/labels/17'
        """
        request = messages.ReviseLabelRequest(
            name=label,
            answer=_answer(answer, seconds=seconds, tags=tags),
            request_id=request_id or uuid4().hex,
            client=_CLIENT,
        )
        return self._connection.call(self._stub.ReviseLabel, request)

    def adjudicate(
        self,
        query: str,
        answer: Answer,
        *,
        tags: Iterable[str] = (),
        request_id: str | None = None,
    ) -> Label:
        """Decide a query as a curator, whatever its votes say; `retract` undoes it.

        Raises:
            ConflictError: If it is a gold query, or its round was cancelled.

        Example:
            >>> for query in client.labels.queries("vnc", state="disputed"):  # doctest: +SKIP
            ...     client.labels.adjudicate(query.name, True)
        """
        request = messages.AdjudicateQueryRequest(
            answer=_answer(answer, query, tags=tags),
            request_id=request_id or uuid4().hex,
            client=_CLIENT,
        )
        return self._connection.call(self._stub.AdjudicateQuery, request)

    def list(self, project: str, *, round: str = "") -> Iterator[Label]:
        """Yield labels in the order in which they were acknowledged.

        Example:
            >>> sum(1 for label in client.labels.list("vnc"))  # doctest: +SKIP
            40
        """

        def fetch(token: str) -> tuple[Iterable[Label], str]:
            request = messages.ListLabelsRequest(
                parent=project_name(project),
                round=last_part(round),
                page_size=PAGE_SIZE,
                page_token=token,
            )
            page = self._connection.call(self._stub.ListLabels, request)
            return page.labels, page.next_page_token

        return every_item(fetch)

    def queries(
        self, project: str, *, round: str = "", state: State | None = None
    ) -> Iterator[Query]:
        """Yield queries in rank order, in any state or in one.

        Raises:
            InvalidRequestError: If there is no such state (`ERROR_REASON_INVALID_FIELD`).

        Example:
            >>> next(client.labels.queries("vnc", round="round-1")).candidate  # doctest: +SKIP
            310
        """
        wanted = chosen("state", state, _STATES)

        def fetch(token: str) -> tuple[Iterable[Query], str]:
            request = messages.ListQueriesRequest(
                parent=project_name(project),
                round=last_part(round),
                state=wanted,
                page_size=PAGE_SIZE,
                page_token=token,
            )
            page = self._connection.call(self._stub.ListQueries, request)
            return page.queries, page.next_page_token

        return every_item(fetch)

    def watch(
        self, project: str, *, after_sequence: int = 0, until_present: bool = False
    ) -> Iterator[LabelEvent]:
        """Yield what happens to labels, without gaps, also across a restart of the server.

        Args:
            project: Name of the project.
            after_sequence: Begin after this event; 0 begins with the first.
            until_present: Whether to end once all present events are told; else it goes on.

        Example:
            >>> for event in client.labels.watch("vnc"):  # doctest: +SKIP
            ...     print(event.sequence, event.label.query)
        """
        seen = after_sequence

        def next_request() -> messages.WatchLabelsRequest:
            return messages.WatchLabelsRequest(
                parent=project_name(project), after_sequence=seen, until_present=until_present
            )

        for response in self._connection.stream(self._stub.WatchLabels, next_request):
            seen = response.event.sequence
            yield response.event

    def consensus(
        self, project: str, *, round: str = "", decided_only: bool = False
    ) -> Iterator[Consensus]:
        """Yield what the labels of each query add up to.

        Example:
            >>> [each.verdict for each in client.labels.consensus("vnc")]  # doctest: +SKIP
            [1, 1, 2]
        """

        def fetch(token: str) -> tuple[Iterable[Consensus], str]:
            request = messages.ListConsensusRequest(
                parent=project_name(project),
                round=last_part(round),
                decided_only=decided_only,
                page_size=PAGE_SIZE,
                page_token=token,
            )
            page = self._connection.call(self._stub.ListConsensus, request)
            return page.consensus, page.next_page_token

        return every_item(fetch)

    def snapshot(self, project: str, *, rounds: Iterable[str] = ()) -> Snapshot:
        """Freeze the decided queries into an immutable file, named by its content.

        Example:
            >>> client.labels.snapshot("vnc").path  # doctest: +SKIP
            'projects/vnc/snapshots/9f2c....parquet'
        """
        request = messages.CreateSnapshotRequest(
            parent=project_name(project), rounds=map(last_part, rounds)
        )
        return self._connection.call(self._stub.CreateSnapshot, request)

    def export(
        self,
        snapshot: str | Snapshot,
        format: Literal["csv", "coco", "ome-zarr", "neuroglancer"],
        *,
        candidate_set: str = "",
        timeout_seconds: float = _LONG_SECONDS,
    ) -> messages.ExportSnapshotResponse:
        """Write a snapshot to the object store in a format of other programs.

        The same export again is answered from what was written.

        Args:
            snapshot: The snapshot, or its name `projects/{project}/snapshots/{sha256}`.
            format: The format.
            candidate_set: Only queries of this set; `ome-zarr` needs one.
            timeout_seconds: How long it may take.

        Raises:
            NotFoundError: If there is no such snapshot.
            ConflictError: If what the format needs, such as the candidate set, is missing.

        Example:
            >>> snapshot = client.labels.snapshot("vnc")  # doctest: +SKIP
            >>> client.labels.export(snapshot, "coco").path  # doctest: +SKIP
            'projects/vnc/exports/9f2c.../coco.json'
        """
        request = messages.ExportSnapshotRequest(
            name=snapshot if isinstance(snapshot, str) else snapshot.name,
            format=chosen("format", format, _FORMATS),
            candidate_set=candidate_set,
        )
        return self._connection.call(
            self._stub.ExportSnapshot, request, timeout_seconds=timeout_seconds
        )

    def import_labels(
        self,
        project: str,
        labels: Iterable[messages.ImportedLabel],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> messages.ImportLabelsResponse:
        """Add labels that were given elsewhere, with their queries; return how many were new.

        They are sent a thousand at a time, each thousand all or none. What a source gave to a
        query before is not added again, so that an import that broke off can be repeated.

        Args:
            project: Name of the project.
            labels: The labels, such as `parfocal.read_labels` returns.
            progress: Called with the number that is done, after each thousand.

        Example:
            >>> found = read_labels(  # doctest: +SKIP
            ...     "labels.csv", format="csv", project=client.projects.get("vnc")
            ... )
            >>> client.labels.import_labels("vnc", found.labels).added  # doctest: +SKIP
            40
        """
        waiting = iter(labels)
        done = messages.ImportLabelsResponse()
        while batch := list(islice(waiting, _LABELS_AT_ONCE)):
            request = messages.ImportLabelsRequest(
                parent=project_name(project),
                labels=batch,
                request_id=uuid4().hex,
                client=_CLIENT,
            )
            answer = self._connection.call(self._stub.ImportLabels, request)
            done.added += answer.added
            done.present += answer.present
            if progress is not None:
                progress(done.added + done.present)
        return done

    def agreement(self, project: str, *, round: str = "") -> messages.GetAgreementResponse:
        """Return how far people agree where queries have several votes, with 95 % intervals.

        What is not defined is NaN, and `undefined_reason` says why. Curators see each annotator's
        agreement with the others too.

        Example:
            >>> client.labels.agreement("vnc").krippendorff_alpha  # doctest: +SKIP
            0.71
        """
        request = messages.GetAgreementRequest(parent=project_name(project), round=last_part(round))
        return self._connection.call(self._stub.GetAgreement, request)

    def progress(self, project: str, *, round: str = "") -> messages.GetProgressResponse:
        """Return how many queries and labels there are.

        Example:
            >>> client.labels.progress("vnc").decided  # doctest: +SKIP
            40
        """
        request = messages.GetProgressRequest(parent=project_name(project), round=last_part(round))
        return self._connection.call(self._stub.GetProgress, request)

    def add(self, project: str, queries: Iterable[Query]) -> messages.AddQueriesResponse:
        """Add queries to the queue, all or none; those that are there stay as they are.

        Example:
            >>> query = Query(round="mine", candidate_set="set-1", candidate=7)  # doctest: +SKIP
            >>> client.labels.add("vnc", [query]).added  # doctest: +SKIP
            1
        """
        request = messages.AddQueriesRequest(
            parent=project_name(project), queries=queries, request_id=uuid4().hex
        )
        return self._connection.call(self._stub.AddQueries, request)

    def withdraw(self, project: str, round: str) -> int:
        """Withdraw a round for good; return how many of its queries were not decided.

        Example:
            >>> client.labels.withdraw("vnc", "round-1")  # doctest: +SKIP
            12
        """
        request = messages.WithdrawQueriesRequest(
            parent=project_name(project), round=last_part(round)
        )
        return self._connection.call(self._stub.WithdrawQueries, request).withdrawn


def _answer(
    answer: Answer, query: str = "", *, seconds: float = 0, tags: Iterable[str] = ()
) -> messages.Answer:
    if isinstance(answer, str):
        given = messages.Answer(class_name=answer)
    else:
        given = messages.Answer(verdict=_VERDICTS[answer])
    given.MergeFrom(messages.Answer(query=query, seconds=seconds, tags=tags))
    return given


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
