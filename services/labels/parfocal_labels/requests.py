"""Requests as the domain takes them; whatever can never work is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from parfocal.common.v1 import geometry_pb2
from parfocal.labels.v1 import label_pb2, labels_service_pb2, project_pb2, query_pb2
from parfocal_labels import fields
from parfocal_labels.answers import Answer, TaskKind, Verdict
from parfocal_labels.consensus import ConsensusRule
from parfocal_labels.records import (
    MAX_VOTES,
    ModelVersion,
    ProjectChange,
    QuerySpec,
    Role,
    Rules,
    Vote,
)
from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput

MAX_QUERIES_ADDED = 10_000
MAX_ITEMS = 1000
_MAX_CLASSES = 1000
_LARGEST = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_PATH_LENGTH = 1024
_REASON_LENGTH = 16_384

_TASK_KINDS = {
    project_pb2.TASK_KIND_VERIFY: TaskKind.VERIFY,
    project_pb2.TASK_KIND_CLASSIFY: TaskKind.CLASSIFY,
}
_RULES = {
    project_pb2.CONSENSUS_RULE_FIRST_VOTE: ConsensusRule.FIRST_VOTE,
    project_pb2.CONSENSUS_RULE_MAJORITY: ConsensusRule.MAJORITY,
}
_ROLES = {
    query_pb2.QUERY_ROLE_UNSPECIFIED: Role.STRATEGY,
    query_pb2.QUERY_ROLE_STRATEGY: Role.STRATEGY,
    query_pb2.QUERY_ROLE_RANDOM: Role.RANDOM,
}
_VERDICTS = {
    label_pb2.VERDICT_UNSPECIFIED: None,
    label_pb2.VERDICT_TRUE: Verdict.TRUE,
    label_pb2.VERDICT_FALSE: Verdict.FALSE,
    label_pb2.VERDICT_UNSURE: Verdict.UNSURE,
}


def display_name_from_pb(message: project_pb2.Project) -> str:
    """Return what people call the project."""
    return fields.text(message.display_name, "project.display_name", longest=200)


def rules_from_pb(message: project_pb2.Project) -> Rules:
    """Return the rules of a project that is to be created."""
    if message.task_kind == project_pb2.TASK_KIND_UNSPECIFIED:
        raise fields.missing("project.task_kind")
    if message.task_kind not in _TASK_KINDS:
        raise fields.invalid("project.task_kind", "VERIFY or CLASSIFY", message.task_kind)
    votes_needed = _votes_needed(message)
    return Rules(
        task_kind=_TASK_KINDS[message.task_kind],
        classes=_classes(message),
        votes_needed=votes_needed,
        consensus_rule=_consensus_rule(message, votes_needed=votes_needed),
    )


def change_from_pb(request: labels_service_pb2.UpdateProjectRequest) -> ProjectChange:
    """Return the new values of a project, as far as the mask names them."""
    message = request.project
    changeable = ("display_name", "classes", "votes_needed", "consensus_rule")
    paths = tuple(request.update_mask.paths) or changeable
    for path in paths:
        if path not in changeable:
            raise fields.invalid("update_mask", f"of {', '.join(changeable)}", path)
    votes_needed = _votes_needed(message)
    return ProjectChange(
        display_name=display_name_from_pb(message) if "display_name" in paths else None,
        classes=_classes(message) if "classes" in paths else None,
        votes_needed=votes_needed if "votes_needed" in paths else None,
        consensus_rule=(
            _consensus_rule(message, votes_needed=votes_needed)
            if "consensus_rule" in paths
            else None
        ),
    )


def revision_from_pb(message: project_pb2.Project) -> int | None:
    """Return the revision that an etag stands for, None where any will do."""
    if not message.etag:
        return None
    is_number = message.etag.isascii() and message.etag.isdecimal() and len(message.etag) < 19
    # Revisions begin at 1, so 0 matches none.
    return int(message.etag) if is_number else 0


def specs_from_pb(messages: Sequence[query_pb2.Query]) -> list[QuerySpec]:
    """Return queries that are to be added."""
    _require_count(messages, "queries", most=MAX_QUERIES_ADDED)
    return [_spec(message, f"queries[{number}]") for number, message in enumerate(messages)]


def query_ids_from_pb(names: Sequence[str], *, project: str) -> list[int]:
    """Return the numbers of queries of `project`, each once."""
    _require_count(names, "queries", most=MAX_ITEMS)
    ids = (
        fields.query_of(name, f"queries[{number}]", project=project)
        for number, name in enumerate(names)
    )
    return list(dict.fromkeys(ids))


def votes_from_pb(answers: Sequence[labels_service_pb2.Answer], *, project: str) -> list[Vote]:
    """Return answers to queries of `project`, each query once."""
    _require_count(answers, "answers", most=MAX_ITEMS)
    votes = [
        _vote(message, f"answers[{number}]", project=project)
        for number, message in enumerate(answers)
    ]
    seen: set[int] = set()
    for number, vote in enumerate(votes):
        if vote.query in seen:
            raise fields.invalid(
                f"answers[{number}].query", "another query than before", vote.query
            )
        seen.add(vote.query)
    return votes


def ttl_from_pb(
    request: labels_service_pb2.LeaseQueriesRequest | labels_service_pb2.RenewLeasesRequest,
) -> timedelta:
    """Return how long leases are to last."""
    ttl = request.ttl if request.HasField("ttl") else None
    return fields.duration(ttl, "ttl", least=1, most=3600, default=300)


def _votes_needed(message: project_pb2.Project) -> int:
    return fields.whole(
        message.votes_needed, "project.votes_needed", least=1, most=MAX_VOTES, default=1
    )


def _classes(message: project_pb2.Project) -> tuple[str, ...]:
    if len(message.classes) > _MAX_CLASSES:
        raise fields.invalid(
            "project.classes", f"at most {_MAX_CLASSES} classes", len(message.classes)
        )
    return tuple(
        fields.text(each, f"project.classes[{number}]", longest=100, required=True)
        for number, each in enumerate(message.classes)
    )


def _consensus_rule(message: project_pb2.Project, *, votes_needed: int) -> ConsensusRule:
    if message.consensus_rule == project_pb2.CONSENSUS_RULE_UNSPECIFIED:
        return ConsensusRule.FIRST_VOTE if votes_needed == 1 else ConsensusRule.MAJORITY
    if message.consensus_rule not in _RULES:
        raise fields.invalid(
            "project.consensus_rule", "FIRST_VOTE or MAJORITY", message.consensus_rule
        )
    return _RULES[message.consensus_rule]


def _spec(message: query_pb2.Query, field: str) -> QuerySpec:
    if message.role not in _ROLES:
        raise fields.invalid(f"{field}.role", "STRATEGY or RANDOM", message.role)
    return QuerySpec(
        round=fields.name(message.round, f"{field}.round"),
        candidate_set=fields.name(message.candidate_set, f"{field}.candidate_set"),
        candidate=fields.whole(
            message.candidate, f"{field}.candidate", least=0, most=_LARGEST["int64"]
        ),
        rank=fields.whole(message.rank, f"{field}.rank", least=0, most=_LARGEST["int32"]),
        priority=message.priority,
        role=_ROLES[message.role],
        strategy=fields.optional_name(message.strategy, f"{field}.strategy"),
        reason=fields.json_object(message.reason, f"{field}.reason", longest=_REASON_LENGTH),
        model=_model(message, f"{field}.model"),
        image=fields.text(message.image, f"{field}.image", longest=_PATH_LENGTH),
        box=_box(message.box, f"{field}.box") if message.HasField("box") else None,
        patches=fields.text(message.patches, f"{field}.patches", longest=_PATH_LENGTH),
    )


def _model(message: query_pb2.Query, field: str) -> ModelVersion | None:
    if not message.HasField("model"):
        return None
    return ModelVersion(
        fields.name(message.model.name, f"{field}.name"),
        fields.whole(message.model.version, f"{field}.version", least=1, most=_LARGEST["int64"]),
    )


def _box(message: geometry_pb2.Box, field: str) -> Box:
    start = (message.start.z, message.start.y, message.start.x)
    stop = (message.stop.z, message.stop.y, message.stop.x)
    if min(start) < 0:
        raise InvalidInput(
            "ERROR_REASON_INVALID_BOX",
            f"{field} must start at 0 or above, got {start}",
            field=field,
            start=start,
            stop=stop,
        )
    return Box(start, stop)


def _vote(message: labels_service_pb2.Answer, field: str, *, project: str) -> Vote:
    if message.verdict not in _VERDICTS:
        raise fields.invalid(f"{field}.verdict", "TRUE, FALSE or UNSURE", message.verdict)
    class_name = fields.text(message.class_name, f"{field}.class_name", longest=100)
    return Vote(
        query=fields.query_of(message.query, f"{field}.query", project=project),
        answer=Answer(_VERDICTS[message.verdict], class_name or None),
        seconds=fields.seconds(message.seconds, f"{field}.seconds"),
    )


def _require_count(items: Sequence[object], field: str, *, most: int) -> None:
    if not items:
        raise fields.missing(field)
    if len(items) > most:
        raise fields.invalid(field, f"at most {most} items", len(items))
