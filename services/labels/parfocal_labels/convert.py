"""Records of the domain as messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.labels.v1 import label_pb2, labels_service_pb2, project_pb2, query_pb2
from parfocal_labels.agreement import Agreement
from parfocal_labels.annotator_names import annotator_name
from parfocal_labels.annotators import Annotator
from parfocal_labels.answers import Answer, TaskKind, Verdict
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.records import (
    EventKind,
    Label,
    LabelEvent,
    Lease,
    ModelVersion,
    Progress,
    Project,
    Purpose,
    Query,
    QueryConsensus,
    QueryState,
    Role,
    Snapshot,
)
from parfocal_labels.resampling import Interval
from parfocal_labels.schema import EPOCH
from parfocal_runtime.box import Triple

_TASK_KINDS = {
    TaskKind.VERIFY: project_pb2.TASK_KIND_VERIFY,
    TaskKind.CLASSIFY: project_pb2.TASK_KIND_CLASSIFY,
}
_RULES = {
    ConsensusRule.FIRST_VOTE: project_pb2.CONSENSUS_RULE_FIRST_VOTE,
    ConsensusRule.MAJORITY: project_pb2.CONSENSUS_RULE_MAJORITY,
    ConsensusRule.N_OF_M: project_pb2.CONSENSUS_RULE_N_OF_M,
    ConsensusRule.DAWID_SKENE: project_pb2.CONSENSUS_RULE_DAWID_SKENE,
}
_TIE_RULES = {
    TieRule.UNSURE: project_pb2.TIE_RULE_UNSURE,
    TieRule.EARLIEST: project_pb2.TIE_RULE_EARLIEST,
    TieRule.ADJUDICATE: project_pb2.TIE_RULE_ADJUDICATE,
}
_ROLES = {
    Role.STRATEGY: query_pb2.QUERY_ROLE_STRATEGY,
    Role.RANDOM: query_pb2.QUERY_ROLE_RANDOM,
    Role.GOLD: query_pb2.QUERY_ROLE_GOLD,
}
_STATES = {
    QueryState.OPEN: query_pb2.QUERY_STATE_OPEN,
    # That leases promise all missing votes is nobody's business but the queue's.
    QueryState.HELD: query_pb2.QUERY_STATE_OPEN,
    QueryState.DECIDED: query_pb2.QUERY_STATE_DECIDED,
    QueryState.WITHDRAWN: query_pb2.QUERY_STATE_WITHDRAWN,
    QueryState.DISPUTED: query_pb2.QUERY_STATE_DISPUTED,
    QueryState.GOLD: query_pb2.QUERY_STATE_GOLD,
}
_VERDICTS = {
    Verdict.TRUE: label_pb2.VERDICT_TRUE,
    Verdict.FALSE: label_pb2.VERDICT_FALSE,
    Verdict.UNSURE: label_pb2.VERDICT_UNSURE,
}
_EVENTS = {
    EventKind.SUBMITTED: label_pb2.LABEL_EVENT_KIND_SUBMITTED,
    EventKind.RETRACTED: label_pb2.LABEL_EVENT_KIND_RETRACTED,
    EventKind.REVISED: label_pb2.LABEL_EVENT_KIND_REVISED,
}
_PURPOSES = {
    Purpose.VOTE: label_pb2.LABEL_PURPOSE_VOTE,
    Purpose.GOLD: label_pb2.LABEL_PURPOSE_GOLD,
    Purpose.REPEAT: label_pb2.LABEL_PURPOSE_REPEAT,
    Purpose.ADJUDICATION: label_pb2.LABEL_PURPOSE_ADJUDICATION,
    Purpose.IMPORT: label_pb2.LABEL_PURPOSE_IMPORT,
}
_NO_ANSWER = Answer()


def project_to_pb(project: Project) -> project_pb2.Project:
    """Return a project as a message."""
    return project_pb2.Project(
        name=f"projects/{project.name}",
        display_name=project.display_name,
        task_kind=_TASK_KINDS[project.rules.task_kind],
        classes=project.rules.classes,
        votes_needed=project.rules.votes_needed,
        consensus_rule=_RULES[project.rules.consensus_rule],
        create_time=time_to_pb(project.create_time),
        update_time=time_to_pb(project.update_time),
        etag=str(project.revision),
        votes_to_agree=project.rules.votes_to_agree,
        tie_rule=_TIE_RULES[project.rules.tie_rule],
        gold_share=project.rules.gold_share,
        repeat_share=project.rules.repeat_share,
        blind=project.rules.blind,
    )


def query_name(project: str, query: int) -> str:
    """Return the full name of a query."""
    return f"projects/{project}/queries/{query}"


def label_name(project: str, sequence: int) -> str:
    """Return the full name of a label."""
    return f"projects/{project}/labels/{sequence}"


def query_to_pb(query: Query, *, project: str) -> query_pb2.Query:
    """Return a query as a message."""
    message = query_pb2.Query()
    _write_query(query, message, project=project)
    return message


def write_lease(lease: Lease, message: query_pb2.LeasedQuery, *, project: str) -> None:
    """Write a lease into an empty message.

    A message that goes into another one by its constructor is copied, a box three times on its way
    into a response; written in place a lease takes half of the time.
    """
    _write_query(lease.query, message.query, project=project)
    _write_time(lease.expire_time, message.expire_time)


def _write_query(query: Query, message: query_pb2.Query, *, project: str) -> None:
    spec, gold = query.spec, query.spec.gold or _NO_ANSWER
    message.name = query_name(project, query.id)
    message.round = spec.round
    message.candidate_set = spec.candidate_set
    message.candidate = spec.candidate
    message.rank = spec.rank
    message.priority = spec.priority
    message.role = _ROLES[spec.role]
    message.strategy = spec.strategy
    message.reason = spec.reason
    if spec.model is not None:
        message.model.name = spec.model.name
        message.model.version = spec.model.version
    message.image = spec.image
    if spec.box is not None:
        _write_place(spec.box.start, message.box.start)
        _write_place(spec.box.stop, message.box.stop)
    message.patches = spec.patches
    message.state = _STATES[query.state]
    message.votes = query.votes
    _write_time(query.create_time, message.create_time)
    message.skill = spec.skill
    message.gold_verdict = _verdict_to_pb(gold)
    message.gold_class_name = gold.class_name or ""
    message.skips = query.skips


def label_to_pb(label: Label, *, project: str) -> label_pb2.Label:
    """Return a label as a message."""
    spec = label.query.spec
    return label_pb2.Label(
        name=label_name(project, label.sequence),
        query=query_name(project, label.query.id),
        annotator=label.annotator,
        verdict=_verdict_to_pb(label.answer),
        class_name=label.answer.class_name or "",
        seconds=label.seconds,
        client=label.client,
        create_time=time_to_pb(label.create_time),
        retracted=label.retracted,
        round=spec.round,
        candidate_set=spec.candidate_set,
        candidate=spec.candidate,
        strategy=spec.strategy,
        rank=spec.rank,
        model=_model_to_pb(spec.model),
        tags=label.tags,
        purpose=_PURPOSES[label.purpose],
        revises=label_name(project, label.revises) if label.revises else "",
    )


def event_to_pb(event: LabelEvent, *, project: str) -> label_pb2.LabelEvent:
    """Return a label event as a message."""
    return label_pb2.LabelEvent(
        sequence=event.sequence,
        kind=_EVENTS[event.kind],
        label=label_to_pb(event.label, project=project),
        create_time=time_to_pb(event.create_time),
    )


def consensus_to_pb(item: QueryConsensus, *, project: str) -> label_pb2.Consensus:
    """Return the consensus of a query as a message."""
    spec, answer = item.query.spec, item.consensus.answer or Answer()
    return label_pb2.Consensus(
        query=query_name(project, item.query.id),
        round=spec.round,
        candidate_set=spec.candidate_set,
        candidate=spec.candidate,
        role=spec.role.value,
        decided=item.consensus.decided,
        verdict=_verdict_to_pb(answer),
        class_name=answer.class_name or "",
        votes=item.consensus.votes,
        agreeing=item.consensus.agreeing,
        adjudicated=item.consensus.adjudicated,
        probability=item.consensus.probability,
    )


def snapshot_to_pb(snapshot: Snapshot) -> label_pb2.Snapshot:
    """Return a snapshot as a message."""
    return label_pb2.Snapshot(
        name=f"projects/{snapshot.project}/snapshots/{snapshot.sha256}",
        sha256=snapshot.sha256,
        path=snapshot.path,
        rows=snapshot.rows,
        last_sequence=snapshot.last_sequence,
        create_time=time_to_pb(snapshot.create_time),
    )


def agreement_to_pb(agreement: Agreement) -> labels_service_pb2.GetAgreementResponse:
    """Return figures of agreement as a message."""
    return labels_service_pb2.GetAgreementResponse(
        queries=agreement.queries,
        pairwise_agreement=agreement.pairwise,
        fleiss_kappa=agreement.fleiss_kappa,
        undefined_reason=agreement.undefined_reason,
        fleiss_kappa_interval=_interval_to_pb(agreement.fleiss_kappa_interval),
        krippendorff_alpha=agreement.krippendorff_alpha,
        krippendorff_alpha_interval=_interval_to_pb(agreement.krippendorff_alpha_interval),
        answers=[
            labels_service_pb2.AnswerAgreement(
                verdict=_verdict_to_pb(each.answer),
                class_name=each.answer.class_name or "",
                votes=each.votes,
                krippendorff_alpha=each.krippendorff_alpha,
                krippendorff_alpha_interval=_interval_to_pb(each.interval),
            )
            for each in agreement.answers
        ],
        annotators=[
            labels_service_pb2.AnnotatorAgreement(
                annotator=each.annotator,
                votes=each.votes,
                pairwise_agreement=each.pairwise,
                pairwise_agreement_interval=_interval_to_pb(each.interval),
            )
            for each in agreement.annotators
        ],
    )


def annotator_to_pb(annotator: Annotator, *, project: str) -> project_pb2.Annotator:
    """Return an annotator as a message."""
    return project_pb2.Annotator(
        name=annotator_name(project, annotator.name),
        skills=annotator.skills,
        suspended=annotator.suspended,
        labels=annotator.labels,
        gold_answered=annotator.gold_answered,
        gold_right=annotator.gold_right,
        repeats_answered=annotator.repeats_answered,
        repeats_same=annotator.repeats_same,
        skipped=annotator.skipped,
    )


def progress_to_pb(progress: Progress) -> labels_service_pb2.GetProgressResponse:
    """Return the counts of a project as a message."""
    return labels_service_pb2.GetProgressResponse(
        queries=progress.queries,
        decided=progress.decided,
        leased=progress.leased,
        labels=progress.labels,
        last_sequence=progress.last_sequence,
        median_seconds=progress.median_seconds,
        disputed=progress.disputed,
        answers=[
            labels_service_pb2.AnswerCount(
                role=role.value,
                verdict=_verdict_to_pb(answer),
                class_name=answer.class_name or "",
                queries=queries,
            )
            for (role, answer), queries in progress.answers.items()
        ],
    )


def time_to_pb(time: datetime) -> Timestamp:
    """Return a point in time as a message."""
    message = Timestamp()
    _write_time(time, message)
    return message


def _write_time(time: datetime, message: Timestamp) -> None:
    # Timestamp.FromDatetime takes three times as long, and each lease has two of them.
    since = time - EPOCH
    message.seconds = 86_400 * since.days + since.seconds
    message.nanos = 1000 * since.microseconds


def _interval_to_pb(interval: Interval) -> labels_service_pb2.Interval:
    return labels_service_pb2.Interval(low=interval.low, high=interval.high)


def _verdict_to_pb(answer: Answer) -> label_pb2.Verdict.ValueType:
    return _VERDICTS[answer.verdict] if answer.verdict else label_pb2.VERDICT_UNSPECIFIED


def _model_to_pb(model: ModelVersion | None) -> artifact_pb2.ModelVersion | None:
    if model is None:
        return None
    return artifact_pb2.ModelVersion(name=model.name, version=model.version)


def _write_place(place: Triple, message: geometry_pb2.Index3) -> None:
    message.z, message.y, message.x = place
