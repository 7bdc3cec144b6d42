"""The gRPC face of the label store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from parfocal.labels.v1 import label_pb2, project_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1 import labels_service_pb2_grpc as pb_grpc
from parfocal_labels import convert, fields, requests
from parfocal_labels.disclosure import Reader
from parfocal_labels.metrics import LabelMetrics
from parfocal_labels.page_tokens import page_request, page_token
from parfocal_labels.store import LabelStore
from parfocal_runtime.auth import Role, principal

Context: TypeAlias = Any

_QUERY_KEY = (str, int, int)


class LabelsServicer(pb_grpc.LabelsServiceServicer):
    """Answers for `parfocal.labels.v1.LabelsService`."""

    def __init__(self, store: LabelStore, metrics: LabelMetrics) -> None:
        self._store = store
        self._metrics = metrics

    async def CreateProject(
        self, request: pb.CreateProjectRequest, context: Context
    ) -> project_pb2.Project:
        project = await self._store.create_project(
            fields.name(request.project_id, "project_id"),
            display_name=requests.display_name_from_pb(request.project),
            rules=requests.rules_from_pb(request.project),
        )
        return convert.project_to_pb(project)

    async def GetProject(
        self, request: pb.GetProjectRequest, context: Context
    ) -> project_pb2.Project:
        name = fields.project_of(request.name, "name")
        return convert.project_to_pb(await self._store.project(name))

    async def ListProjects(
        self, request: pb.ListProjectsRequest, context: Context
    ) -> pb.ListProjectsResponse:
        scope = "ListProjects"
        wanted = page_request(request.page_size, request.page_token, kinds=(str,), scope=scope)
        page = await self._store.list_projects(wanted, only=principal().visible_projects())
        return pb.ListProjectsResponse(
            projects=map(convert.project_to_pb, page.items),
            next_page_token=page_token(page.next_key, scope=scope),
        )

    async def UpdateProject(
        self, request: pb.UpdateProjectRequest, context: Context
    ) -> project_pb2.Project:
        project = await self._store.update_project(
            fields.project_of(request.project.name, "project.name"),
            requests.change_from_pb(request),
            revision=requests.revision_from_pb(request.project),
        )
        return convert.project_to_pb(project)

    async def AddQueries(
        self, request: pb.AddQueriesRequest, context: Context
    ) -> pb.AddQueriesResponse:
        added = await self._store.add_queries(
            fields.project_of(request.parent, "parent"),
            requests.specs_from_pb(request.queries),
            caller=principal().name,
            request_id=fields.text(request.request_id, "request_id", longest=128),
        )
        return pb.AddQueriesResponse(added=added, present=len(request.queries) - added)

    async def WithdrawQueries(
        self, request: pb.WithdrawQueriesRequest, context: Context
    ) -> pb.WithdrawQueriesResponse:
        project = fields.project_of(request.parent, "parent")
        round_ = fields.name(request.round, "round")
        withdrawn = await self._store.withdraw_queries(project, round_)
        return pb.WithdrawQueriesResponse(withdrawn=withdrawn)

    async def ListQueries(
        self, request: pb.ListQueriesRequest, context: Context
    ) -> pb.ListQueriesResponse:
        project, round_ = _project_and_round(request)
        scope = ("ListQueries", project, round_, request.state)
        wanted = page_request(request.page_size, request.page_token, kinds=_QUERY_KEY, scope=scope)
        page = await self._store.list_queries(
            project,
            wanted,
            round_=round_,
            states=requests.states_from_pb(request.state),
            reader=_reader(),
        )
        return pb.ListQueriesResponse(
            queries=[convert.query_to_pb(query, project=project) for query in page.items],
            next_page_token=page_token(page.next_key, scope=scope),
        )

    async def LeaseQueries(
        self, request: pb.LeaseQueriesRequest, context: Context
    ) -> pb.LeaseQueriesResponse:
        project, round_ = _project_and_round(request)
        leases = await self._store.lease_queries(
            project,
            principal().name,
            count=fields.whole(
                request.count, "count", least=1, most=requests.MAX_ITEMS, default=20
            ),
            ttl=requests.ttl_from_pb(request),
            round_=round_,
            reader=_reader(),
        )
        response = pb.LeaseQueriesResponse()
        for lease in leases:
            convert.write_lease(lease, response.queries.add(), project=project)
        return response

    async def RenewLeases(
        self, request: pb.RenewLeasesRequest, context: Context
    ) -> pb.RenewLeasesResponse:
        project = fields.project_of(request.parent, "parent")
        ids = requests.query_ids_from_pb(request.queries, project=project)
        ttl = requests.ttl_from_pb(request)
        held, until = await self._store.renew_leases(project, principal().name, ids, ttl=ttl)
        return pb.RenewLeasesResponse(
            queries=[convert.query_name(project, query) for query in ids if query in held],
            expire_time=convert.time_to_pb(until),
        )

    async def ReleaseQueries(
        self, request: pb.ReleaseQueriesRequest, context: Context
    ) -> pb.ReleaseQueriesResponse:
        project = fields.project_of(request.parent, "parent")
        ids = requests.query_ids_from_pb(request.queries, project=project)
        released = await self._store.release_queries(project, principal().name, ids)
        return pb.ReleaseQueriesResponse(released=released)

    async def SkipQueries(
        self, request: pb.SkipQueriesRequest, context: Context
    ) -> pb.SkipQueriesResponse:
        project = fields.project_of(request.parent, "parent")
        skipped = await self._store.skip_queries(
            project,
            principal().name,
            requests.skips_from_pb(request.skips, project=project),
            request_id=_request_id(request),
        )
        return pb.SkipQueriesResponse(skipped=skipped)

    async def SubmitLabels(
        self, request: pb.SubmitLabelsRequest, context: Context
    ) -> pb.SubmitLabelsResponse:
        project = fields.project_of(request.parent, "parent")
        labels = await self._store.submit_labels(
            project,
            principal().name,
            requests.votes_from_pb(request.answers, project=project),
            request_id=_request_id(request),
            client=_client(request),
            reader=_reader(),
        )
        self._metrics.observe_labels(project, labels)
        return pb.SubmitLabelsResponse(
            labels=[convert.label_to_pb(label, project=project) for label in labels]
        )

    async def RetractLabel(
        self, request: pb.RetractLabelRequest, context: Context
    ) -> label_pb2.Label:
        project, sequence = fields.label_of(request.name, "name")
        caller = principal()
        label = await self._store.retract_label(
            project,
            sequence,
            caller=caller.name,
            of_anybody=caller.role >= Role.CURATOR,
            reader=_reader(),
        )
        return convert.label_to_pb(label, project=project)

    async def ReviseLabel(
        self, request: pb.ReviseLabelRequest, context: Context
    ) -> label_pb2.Label:
        project, sequence = fields.label_of(request.name, "name")
        label = await self._store.reviews.revise_label(
            project,
            sequence,
            requests.revision_of_label_from_pb(request.answer),
            caller=principal().name,
            request_id=_request_id(request),
            client=_client(request),
            reader=_reader(),
        )
        self._metrics.observe_labels(project, [label])
        return convert.label_to_pb(label, project=project)

    async def AdjudicateQuery(
        self, request: pb.AdjudicateQueryRequest, context: Context
    ) -> label_pb2.Label:
        project, vote = requests.adjudication_from_pb(request.answer)
        label = await self._store.reviews.adjudicate_query(
            project,
            vote,
            curator=principal().name,
            request_id=_request_id(request),
            client=_client(request),
        )
        self._metrics.observe_labels(project, [label])
        return convert.label_to_pb(label, project=project)

    async def UpdateAnnotator(
        self, request: pb.UpdateAnnotatorRequest, context: Context
    ) -> project_pb2.Annotator:
        project, change = requests.annotator_change_from_pb(request)
        annotator = await self._store.reviews.update_annotator(project, change)
        return convert.annotator_to_pb(annotator, project=project)

    async def ListAnnotators(
        self, request: pb.ListAnnotatorsRequest, context: Context
    ) -> pb.ListAnnotatorsResponse:
        project = fields.project_of(request.parent, "parent")
        scope = ("ListAnnotators", project)
        wanted = page_request(request.page_size, request.page_token, kinds=(str,), scope=scope)
        page = await self._store.reviews.list_annotators(project, wanted)
        return pb.ListAnnotatorsResponse(
            annotators=[convert.annotator_to_pb(each, project=project) for each in page.items],
            next_page_token=page_token(page.next_key, scope=scope),
        )

    async def ListLabels(
        self, request: pb.ListLabelsRequest, context: Context
    ) -> pb.ListLabelsResponse:
        project, round_ = _project_and_round(request)
        scope = ("ListLabels", project, round_)
        wanted = page_request(request.page_size, request.page_token, kinds=(int,), scope=scope)
        page = await self._store.list_labels(project, wanted, round_=round_, reader=_reader())
        return pb.ListLabelsResponse(
            labels=[convert.label_to_pb(label, project=project) for label in page.items],
            next_page_token=page_token(page.next_key, scope=scope),
        )

    async def WatchLabels(
        self, request: pb.WatchLabelsRequest, context: Context
    ) -> AsyncIterator[pb.WatchLabelsResponse]:
        project = fields.project_of(request.parent, "parent")
        after = fields.whole(request.after_sequence, "after_sequence", least=0, most=2**63 - 1)
        events = self._store.watch_labels(
            project, after=after, until_present=request.until_present, reader=_reader()
        )
        async for event in events:
            yield pb.WatchLabelsResponse(event=convert.event_to_pb(event, project=project))

    async def ListConsensus(
        self, request: pb.ListConsensusRequest, context: Context
    ) -> pb.ListConsensusResponse:
        project, round_ = _project_and_round(request)
        scope = ("ListConsensus", project, round_, request.decided_only)
        wanted = page_request(request.page_size, request.page_token, kinds=_QUERY_KEY, scope=scope)
        page = await self._store.list_consensus(
            project,
            wanted,
            round_=round_,
            decided_only=request.decided_only,
            reader=_reader(),
        )
        return pb.ListConsensusResponse(
            consensus=[convert.consensus_to_pb(item, project=project) for item in page.items],
            next_page_token=page_token(page.next_key, scope=scope),
        )

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: Context
    ) -> label_pb2.Snapshot:
        project = fields.project_of(request.parent, "parent")
        rounds = [
            fields.name(each, f"rounds[{number}]") for number, each in enumerate(request.rounds)
        ]
        return convert.snapshot_to_pb(await self._store.create_snapshot(project, rounds=rounds))

    async def ExportSnapshot(
        self, request: pb.ExportSnapshotRequest, context: Context
    ) -> pb.ExportSnapshotResponse:
        project, sha256 = fields.snapshot_of(request.name, "name")
        export = requests.export_from_pb(request)
        exported = await self._store.exchange.export_snapshot(project, sha256, export)
        return pb.ExportSnapshotResponse(path=exported.path, rows=exported.rows)

    async def ImportLabels(
        self, request: pb.ImportLabelsRequest, context: Context
    ) -> pb.ImportLabelsResponse:
        added = await self._store.exchange.import_labels(
            fields.project_of(request.parent, "parent"),
            requests.imported_from_pb(request.labels),
            caller=principal().name,
            request_id=fields.text(request.request_id, "request_id", longest=128, required=True),
            client=fields.text(request.client, "client", longest=200),
        )
        return pb.ImportLabelsResponse(added=added, present=len(request.labels) - added)

    async def GetAgreement(
        self, request: pb.GetAgreementRequest, context: Context
    ) -> pb.GetAgreementResponse:
        project, round_ = _project_and_round(request)
        agreement = await self._store.agreement(project, round_=round_)
        return convert.agreement_to_pb(_reader().agreement(agreement))

    async def GetProgress(
        self, request: pb.GetProgressRequest, context: Context
    ) -> pb.GetProgressResponse:
        project, round_ = _project_and_round(request)
        progress = await self._store.progress(
            project, round_=round_, count_answers=request.count_answers, reader=_reader()
        )
        return convert.progress_to_pb(progress)


def _reader() -> Reader:
    caller = principal()
    return Reader(caller.name, sees_all=caller.role >= Role.CURATOR)


def _request_id(
    request: pb.SkipQueriesRequest
    | pb.SubmitLabelsRequest
    | pb.ReviseLabelRequest
    | pb.AdjudicateQueryRequest,
) -> str:
    return fields.text(request.request_id, "request_id", longest=128, required=True)


def _client(
    request: pb.SubmitLabelsRequest | pb.ReviseLabelRequest | pb.AdjudicateQueryRequest,
) -> str:
    return fields.text(request.client, "client", longest=200)


def _project_and_round(
    request: pb.ListQueriesRequest
    | pb.LeaseQueriesRequest
    | pb.ListLabelsRequest
    | pb.ListConsensusRequest
    | pb.GetAgreementRequest
    | pb.GetProgressRequest,
) -> tuple[str, str]:
    project = fields.project_of(request.parent, "parent")
    return project, fields.optional_name(request.round, "round")
