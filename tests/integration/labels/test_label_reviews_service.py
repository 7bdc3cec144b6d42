from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from parfocal.common.v1 import artifact_pb2
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_labels.app import build
from parfocal_labels.config import LabelsConfig
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import DomainError
from parfocal_runtime.server import serving_in_thread

VNC = "projects/vnc"
TRUE, FALSE = label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE
GOLD, STRATEGY = query_pb2.QUERY_ROLE_GOLD, query_pb2.QUERY_ROLE_STRATEGY
ROLES = {"vic": Role.VIEWER, "ada": Role.ANNOTATOR, "bob b": Role.ANNOTATOR, "cur": Role.CURATOR}

Stub = Any
As = Callable[[str], Stub]


@pytest.fixture
def acting(dsn: str, tmp_path: Path) -> Iterator[As]:
    """Stubs of callers by name."""
    file = tmp_path / "tokens"
    tokens = {name: write_token(file, name=name, role=role) for name, role in ROLES.items()}
    config = LabelsConfig(
        port=0,
        store_uri=(tmp_path / "store").as_uri(),
        tokens_file=str(file),
        database=dsn,
        poll_seconds=0.05,
    )
    with serving_in_thread([build(config)], config) as server, ExitStack() as stack:
        stubs = {
            name: LabelsServiceStub(stack.enter_context(sync_channel(server.address, token=token)))
            for name, token in tokens.items()
        }
        yield stubs.__getitem__


def create(stub: Stub, **rules: Any) -> None:
    rules.setdefault("task_kind", project_pb2.TASK_KIND_VERIFY)
    project = project_pb2.Project(**rules)
    stub.CreateProject(pb.CreateProjectRequest(project_id="vnc", project=project))


def add(stub: Stub, count: int, *, first: int = 0, **values: Any) -> None:
    queries = [
        query_pb2.Query(
            round="r1",
            candidate_set="set",
            candidate=first + number,
            rank=number,
            strategy="two-stream",
            reason='{"cell": 1}',
            model=artifact_pb2.ModelVersion(name="unet", version=2),
            **values,
        )
        for number in range(count)
    ]
    stub.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=queries))


def lease(stub: Stub, count: int) -> list[query_pb2.Query]:
    response = stub.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=count))
    return [leased.query for leased in response.queries]


def submit(stub: Stub, names: list[str], verdict: Any = TRUE) -> list[label_pb2.Label]:
    answers = [pb.Answer(query=name, verdict=verdict) for name in names]
    request = pb.SubmitLabelsRequest(parent=VNC, answers=answers, request_id=f"s-{names}")
    return list(stub.SubmitLabels(request).labels)


def vote(stub: Stub, count: int = 1, verdict: Any = TRUE) -> list[label_pb2.Label]:
    return submit(stub, [query.name for query in lease(stub, count)], verdict)


def labels(stub: Stub) -> list[label_pb2.Label]:
    return list(stub.ListLabels(pb.ListLabelsRequest(parent=VNC)).labels)


def queries(stub: Stub, **values: Any) -> list[query_pb2.Query]:
    return list(stub.ListQueries(pb.ListQueriesRequest(parent=VNC, **values)).queries)


def consensus(stub: Stub) -> list[label_pb2.Consensus]:
    return list(stub.ListConsensus(pb.ListConsensusRequest(parent=VNC)).consensus)


def watch(stub: Stub) -> list[label_pb2.LabelEvent]:
    request = pb.WatchLabelsRequest(parent=VNC, until_present=True)
    return [response.event for response in stub.WatchLabels(request)]


def adjudication(query: str, verdict: Any, request_id: str = "a") -> pb.AdjudicateQueryRequest:
    answer = pb.Answer(query=query, verdict=verdict, tags=["checked"])
    return pb.AdjudicateQueryRequest(answer=answer, request_id=request_id, client="test/1")


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, DomainError]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), domain_error(caught.value)


def test_a_label_is_revised(acting: As) -> None:
    create(acting("cur"))
    add(acting("cur"), 1)
    [label] = vote(acting("ada"))
    answer = pb.Answer(verdict=FALSE, seconds=3, tags=["blurred", "blurred"])
    request = pb.ReviseLabelRequest(name=label.name, answer=answer, request_id="r", client="test/1")

    revised = acting("ada").ReviseLabel(request)

    assert acting("ada").ReviseLabel(request) == revised
    assert (revised.revises, revised.verdict, revised.retracted) == (label.name, FALSE, False)
    assert (revised.seconds, revised.client, list(revised.tags)) == (3, "test/1", ["blurred"])
    assert [(each.name, each.retracted) for each in labels(acting("vic"))] == [
        (label.name, True),
        (revised.name, False),
    ]
    submitted, event = watch(acting("vic"))
    assert submitted.kind == label_pb2.LABEL_EVENT_KIND_SUBMITTED
    assert (event.kind, event.label) == (label_pb2.LABEL_EVENT_KIND_REVISED, revised)
    [outcome] = consensus(acting("vic"))
    assert (outcome.verdict, outcome.votes) == (FALSE, 1)


def test_a_curator_revises_nobodys_label(acting: As) -> None:
    create(acting("cur"))
    add(acting("cur"), 1)
    [label] = vote(acting("ada"))
    request = pb.ReviseLabelRequest(
        name=label.name, answer=pb.Answer(verdict=FALSE), request_id="r"
    )

    code, error = failure(lambda: acting("cur").ReviseLabel(request))

    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert error.reason == "ERROR_REASON_LABEL_NOT_YOURS"


def test_a_dispute_is_listed_and_decided(acting: As) -> None:
    create(acting("cur"), votes_needed=2, tie_rule=project_pb2.TIE_RULE_ADJUDICATE)
    add(acting("cur"), 2)
    vote(acting("ada"), 2, TRUE)
    vote(acting("bob b"), 1, FALSE)
    disputed = query_pb2.QUERY_STATE_DISPUTED

    [query] = queries(acting("vic"), state=disputed)
    progress = acting("vic").GetProgress(pb.GetProgressRequest(parent=VNC))
    label = acting("cur").AdjudicateQuery(adjudication(query.name, FALSE))

    assert (progress.queries, progress.decided, progress.disputed) == (2, 0, 1)
    assert label.purpose == label_pb2.LABEL_PURPOSE_ADJUDICATION
    assert (label.annotator, label.query, list(label.tags)) == ("cur", query.name, ["checked"])
    outcome = consensus(acting("vic"))[0]
    assert (outcome.decided, outcome.adjudicated, outcome.verdict) == (True, True, FALSE)
    assert math.isnan(outcome.probability)
    assert queries(acting("vic"), state=disputed) == []
    assert [
        query.name for query in queries(acting("vic"), state=query_pb2.QUERY_STATE_DECIDED)
    ] == [query.name]


def test_a_decision_without_a_request_id_is_refused(acting: As) -> None:
    create(acting("cur"))
    add(acting("cur"), 1)
    [query] = queries(acting("cur"))

    code, error = failure(
        lambda: acting("cur").AdjudicateQuery(adjudication(query.name, TRUE, request_id=""))
    )

    assert (code, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ERROR_REASON_MISSING_FIELD",
    )
    assert error.metadata["field"] == "request_id"


def test_gold_looks_like_any_query_to_an_annotator(acting: As) -> None:
    create(acting("cur"), gold_share=0.5)
    add(acting("cur"), 1)
    add(acting("cur"), 1, first=9, role=GOLD, gold_verdict=FALSE)

    handed = lease(acting("ada"), 2)
    given = submit(acting("ada"), [query.name for query in handed])

    assert {query.candidate for query in handed} == {0, 9}
    assert {query.role for query in handed} == {STRATEGY}
    assert {query.state for query in handed} == {query_pb2.QUERY_STATE_OPEN}
    assert {query.gold_verdict for query in handed} == {label_pb2.VERDICT_UNSPECIFIED}
    vote_purpose = label_pb2.LABEL_PURPOSE_VOTE
    for seen in (given, labels(acting("ada")), [event.label for event in watch(acting("vic"))]):
        assert [label.purpose for label in seen] == [vote_purpose] * 2
    assert [query.candidate for query in queries(acting("ada"))] == [0]
    assert [query.candidate for query in queries(acting("vic"))] == [0]


def test_curators_see_gold_for_what_it_is(acting: As) -> None:
    create(acting("cur"), gold_share=0.5)
    add(acting("cur"), 1)
    add(acting("cur"), 1, first=9, role=GOLD, gold_verdict=FALSE)
    vote(acting("ada"), 2)

    listed = {query.candidate: query for query in queries(acting("cur"))}

    assert (listed[9].role, listed[9].gold_verdict) == (GOLD, FALSE)
    assert listed[9].state == query_pb2.QUERY_STATE_GOLD
    purposes = {label.candidate: label.purpose for label in labels(acting("cur"))}
    assert purposes == {0: label_pb2.LABEL_PURPOSE_VOTE, 9: label_pb2.LABEL_PURPOSE_GOLD}
    assert [outcome.candidate for outcome in consensus(acting("cur"))] == [0]


def blind(acting: As) -> None:
    """A blind project with a query that two of three have answered."""
    create(acting("cur"), votes_needed=3, blind=True)
    add(acting("cur"), 1)
    vote(acting("ada"), verdict=TRUE)
    vote(acting("bob b"), verdict=FALSE)


@pytest.mark.parametrize("name", ["ada", "vic"])
@pytest.mark.parametrize("read", [consensus, watch])
def test_a_blind_project_keeps_answers_from_all_but_curators(
    acting: As, read: Callable[[Stub], object], name: str
) -> None:
    blind(acting)

    code, error = failure(lambda: read(acting(name)))

    assert (code, error.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ERROR_REASON_PROJECT_BLIND",
    )
    assert error.metadata["project"] == "vnc"


def test_in_a_blind_project_everybody_sees_their_own_labels(acting: As) -> None:
    blind(acting)

    seen = {name: [label.annotator for label in labels(acting(name))] for name in ROLES}

    assert seen == {"ada": ["ada"], "bob b": ["bob b"], "vic": [], "cur": ["ada", "bob b"]}


def test_a_blind_project_gives_no_hints(acting: As) -> None:
    blind(acting)
    add(acting("cur"), 1, first=1)

    [handed] = lease(acting("ada"), 1)
    listed = queries(acting("vic"))
    [label] = labels(acting("ada"))

    for query in (handed, *listed):
        assert (query.strategy, query.reason, query.votes) == ("", "", 0)
        assert not query.HasField("model")
    assert (label.strategy, label.HasField("model")) == ("", False)


def test_curators_of_a_blind_project_see_everything(acting: As) -> None:
    blind(acting)

    [query] = queries(acting("cur"))

    assert (query.strategy, query.votes, query.model.name) == ("two-stream", 2, "unet")
    assert len(watch(acting("cur"))) == 2
    assert len(consensus(acting("cur"))) == 1


def test_a_stream_ends_when_its_project_turns_blind(acting: As) -> None:
    create(acting("cur"))
    add(acting("cur"), 1)
    vote(acting("ada"))
    stream = acting("vic").WatchLabels(pb.WatchLabelsRequest(parent=VNC))
    next(stream)

    wanted = project_pb2.Project(name=VNC, blind=True)
    acting("cur").UpdateProject(
        pb.UpdateProjectRequest(project=wanted, update_mask=FieldMask(paths=["blind"]))
    )

    code, error = failure(lambda: next(stream))
    assert (code, error.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ERROR_REASON_PROJECT_BLIND",
    )


def test_agreement_names_annotators_to_curators_only(acting: As) -> None:
    create(acting("cur"), votes_needed=2)
    add(acting("cur"), 6)
    vote(acting("ada"), 3, TRUE)
    vote(acting("ada"), 3, FALSE)
    vote(acting("bob b"), 4, TRUE)
    vote(acting("bob b"), 2, FALSE)
    request = pb.GetAgreementRequest(parent=VNC)

    full, short = acting("cur").GetAgreement(request), acting("vic").GetAgreement(request)

    assert [each.annotator for each in full.annotators] == ["ada", "bob b"]
    assert [each.verdict for each in full.answers] == [FALSE, TRUE]
    assert [each.votes for each in full.answers] == [5, 7]
    for ends in (full.krippendorff_alpha_interval, full.fleiss_kappa_interval):
        assert ends.low < full.krippendorff_alpha < ends.high or ends.high == 1.0
    assert len(short.annotators) == 0
    full.ClearField("annotators")
    assert short == full


def test_agreement_that_is_undefined_says_why(acting: As) -> None:
    create(acting("cur"), votes_needed=2)
    add(acting("cur"), 1)

    found = acting("vic").GetAgreement(pb.GetAgreementRequest(parent=VNC))

    assert found.undefined_reason
    for figure in (
        found.krippendorff_alpha,
        found.krippendorff_alpha_interval.low,
        found.fleiss_kappa_interval.high,
    ):
        assert math.isnan(figure)


def test_an_annotator_is_updated_and_listed(acting: As) -> None:
    create(acting("cur"), votes_needed=2)
    add(acting("cur"), 2)
    vote(acting("bob b"), 2)
    bob = f"{VNC}/annotators/bob%20b"
    wanted = project_pb2.Annotator(name=bob, skills=["glia", "glia"], suspended=True)

    updated = acting("cur").UpdateAnnotator(
        pb.UpdateAnnotatorRequest(annotator=wanted, update_mask=FieldMask(paths=["skills"]))
    )
    acting("cur").UpdateAnnotator(
        pb.UpdateAnnotatorRequest(annotator=project_pb2.Annotator(name=f"{VNC}/annotators/x"))
    )
    first = acting("cur").ListAnnotators(pb.ListAnnotatorsRequest(parent=VNC, page_size=1))
    second = acting("cur").ListAnnotators(
        pb.ListAnnotatorsRequest(parent=VNC, page_size=1, page_token=first.next_page_token)
    )

    assert updated == project_pb2.Annotator(name=bob, skills=["glia"], labels=2)
    assert [each.name for each in (*first.annotators, *second.annotators)] == [
        bob,
        f"{VNC}/annotators/x",
    ]
    assert second.next_page_token == ""


def test_a_suspended_annotator_is_refused(acting: As) -> None:
    create(acting("cur"))
    add(acting("cur"), 1)
    wanted = project_pb2.Annotator(name=f"{VNC}/annotators/ada", suspended=True)
    acting("cur").UpdateAnnotator(pb.UpdateAnnotatorRequest(annotator=wanted))

    code, error = failure(lambda: lease(acting("ada"), 1))

    assert (code, error.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ERROR_REASON_ANNOTATOR_SUSPENDED",
    )
    assert len(lease(acting("bob b"), 1)) == 1


@pytest.mark.parametrize(
    "name",
    ["", "ada", "projects/vnc/annotators/", f"{VNC}/annotators/a/b", f"{VNC}/annotators/%ff"],
)
def test_what_is_no_annotators_name_is_refused(acting: As, name: str) -> None:
    create(acting("cur"))
    request = pb.UpdateAnnotatorRequest(annotator=project_pb2.Annotator(name=name))

    code, error = failure(lambda: acting("cur").UpdateAnnotator(request))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata["field"] == "annotator.name"
