"""Requests as the domain takes them; whatever can never work is refused here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from parfocal.common.v1 import geometry_pb2
from parfocal.labels.v1 import label_pb2, labels_service_pb2, project_pb2, query_pb2
from parfocal_labels import fields
from parfocal_labels.annotator_names import annotator_of
from parfocal_labels.annotators import AnnotatorChange
from parfocal_labels.answers import Answer, TaskKind, Verdict
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.exports import Export, ExportFormat
from parfocal_labels.imports import ImportedLabel
from parfocal_labels.records import (
    MAX_SHARE,
    MAX_VOTES,
    ModelVersion,
    ProjectChange,
    QuerySpec,
    QueryState,
    Role,
    Rules,
    Skip,
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
_WORD_LENGTH = 63
_MAX_TAGS = 16
_MAX_SKILLS = 64
_ANNOTATOR_FIELDS = ("skills", "suspended")

_TASK_KINDS = {
    project_pb2.TASK_KIND_VERIFY: TaskKind.VERIFY,
    project_pb2.TASK_KIND_CLASSIFY: TaskKind.CLASSIFY,
}
_RULES = {
    project_pb2.CONSENSUS_RULE_FIRST_VOTE: ConsensusRule.FIRST_VOTE,
    project_pb2.CONSENSUS_RULE_MAJORITY: ConsensusRule.MAJORITY,
    project_pb2.CONSENSUS_RULE_N_OF_M: ConsensusRule.N_OF_M,
    project_pb2.CONSENSUS_RULE_DAWID_SKENE: ConsensusRule.DAWID_SKENE,
}
_TIE_RULES = {
    project_pb2.TIE_RULE_UNSPECIFIED: TieRule.UNSURE,
    project_pb2.TIE_RULE_UNSURE: TieRule.UNSURE,
    project_pb2.TIE_RULE_EARLIEST: TieRule.EARLIEST,
    project_pb2.TIE_RULE_ADJUDICATE: TieRule.ADJUDICATE,
}
_ROLES = {
    query_pb2.QUERY_ROLE_UNSPECIFIED: Role.STRATEGY,
    query_pb2.QUERY_ROLE_STRATEGY: Role.STRATEGY,
    query_pb2.QUERY_ROLE_RANDOM: Role.RANDOM,
    query_pb2.QUERY_ROLE_GOLD: Role.GOLD,
}
_EXPORT_FORMATS = {
    labels_service_pb2.EXPORT_FORMAT_CSV: ExportFormat.CSV,
    labels_service_pb2.EXPORT_FORMAT_COCO: ExportFormat.COCO,
    labels_service_pb2.EXPORT_FORMAT_OME_ZARR: ExportFormat.OME_ZARR,
    labels_service_pb2.EXPORT_FORMAT_NEUROGLANCER: ExportFormat.NEUROGLANCER,
}
_STATES = {
    query_pb2.QUERY_STATE_UNSPECIFIED: (),
    query_pb2.QUERY_STATE_OPEN: (QueryState.OPEN, QueryState.HELD),
    query_pb2.QUERY_STATE_DECIDED: (QueryState.DECIDED,),
    query_pb2.QUERY_STATE_WITHDRAWN: (QueryState.WITHDRAWN,),
    query_pb2.QUERY_STATE_DISPUTED: (QueryState.DISPUTED,),
    query_pb2.QUERY_STATE_GOLD: (QueryState.GOLD,),
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
    rule = _consensus_rule(message, votes_needed=votes_needed)
    return Rules(
        task_kind=_TASK_KINDS[message.task_kind],
        classes=_classes(message),
        votes_needed=votes_needed,
        consensus_rule=rule,
        votes_to_agree=_votes_to_agree(message) if rule is ConsensusRule.N_OF_M else 0,
        tie_rule=_tie_rule(message),
        gold_share=_share(message, "gold_share"),
        repeat_share=_share(message, "repeat_share"),
        blind=message.blind,
    )


def change_from_pb(request: labels_service_pb2.UpdateProjectRequest) -> ProjectChange:
    """Return the new values of a project, as far as the mask names them."""
    message = request.project
    paths = tuple(request.update_mask.paths) or tuple(_CHANGES)
    for path in paths:
        if path not in _CHANGES:
            raise fields.invalid("update_mask", f"of {', '.join(_CHANGES)}", path)
    return ProjectChange(**{path: _CHANGES[path](message) for path in paths})


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
    _require_different([vote.query for vote in votes], "answers[{}].query")
    return votes


def revision_of_label_from_pb(message: labels_service_pb2.Answer) -> Vote:
    """Return a new answer, to the query of the label that it replaces."""
    return _vote_on(0, message, "answer")


def adjudication_from_pb(message: labels_service_pb2.Answer) -> tuple[str, Vote]:
    """Return an answer with the project and the query that it decides."""
    project, query = fields.project_and_query_of(message.query, "answer.query")
    return project, _vote_on(query, message, "answer")


def annotator_change_from_pb(
    request: labels_service_pb2.UpdateAnnotatorRequest,
) -> tuple[str, AnnotatorChange]:
    """Return the project, and the new values of an annotator as far as the mask names them."""
    message = request.annotator
    project, name = annotator_of(message.name, "annotator.name")
    paths = tuple(request.update_mask.paths) or _ANNOTATOR_FIELDS
    for path in paths:
        if path not in _ANNOTATOR_FIELDS:
            raise fields.invalid("update_mask", f"of {', '.join(_ANNOTATOR_FIELDS)}", path)
    return project, AnnotatorChange(
        name,
        skills=_skills(message) if "skills" in paths else None,
        suspended=message.suspended if "suspended" in paths else None,
    )


def states_from_pb(state: query_pb2.QueryState.ValueType) -> tuple[QueryState, ...]:
    """Return the states of queries that are meant; none stands for all."""
    if state not in _STATES:
        raise fields.invalid("state", "a state of a query", state)
    return _STATES[state]


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
            "project.consensus_rule",
            "FIRST_VOTE, MAJORITY, N_OF_M or DAWID_SKENE",
            message.consensus_rule,
        )
    return _RULES[message.consensus_rule]


def _votes_to_agree(message: project_pb2.Project) -> int:
    return fields.whole(
        message.votes_to_agree, "project.votes_to_agree", least=1, most=MAX_VOTES, default=1
    )


def _tie_rule(message: project_pb2.Project) -> TieRule:
    if message.tie_rule not in _TIE_RULES:
        raise fields.invalid("project.tie_rule", "UNSURE, EARLIEST or ADJUDICATE", message.tie_rule)
    return _TIE_RULES[message.tie_rule]


def _share(message: project_pb2.Project, name: str) -> float:
    share: float = getattr(message, name)
    # Written so that NaN is refused too.
    if not 0.0 <= share <= MAX_SHARE:
        raise fields.invalid(f"project.{name}", f"0 to {MAX_SHARE}", share)
    return share


_CHANGES: dict[str, Callable[[project_pb2.Project], Any]] = {
    "display_name": display_name_from_pb,
    "classes": _classes,
    "votes_needed": _votes_needed,
    "consensus_rule": lambda message: _consensus_rule(message, votes_needed=_votes_needed(message)),
    "votes_to_agree": _votes_to_agree,
    "tie_rule": _tie_rule,
    "gold_share": lambda message: _share(message, "gold_share"),
    "repeat_share": lambda message: _share(message, "repeat_share"),
    "blind": lambda message: message.blind,
}


def _spec(message: query_pb2.Query, field: str) -> QuerySpec:
    if message.role not in _ROLES:
        raise fields.invalid(f"{field}.role", "STRATEGY, RANDOM or GOLD", message.role)
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
        skill=fields.text(message.skill, f"{field}.skill", longest=_WORD_LENGTH),
        gold=_gold(message, field),
    )


def _gold(message: query_pb2.Query, field: str) -> Answer | None:
    answer = answer_from_pb(
        message.gold_verdict, message.gold_class_name, verdict_field=f"{field}.gold_verdict"
    )
    is_gold = message.role == query_pb2.QUERY_ROLE_GOLD
    if is_gold != (answer != Answer()):
        raise fields.invalid(
            f"{field}.gold_verdict",
            "given, or gold_class_name, for the role GOLD, and only then",
            message.gold_verdict,
        )
    return answer if is_gold else None


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
    query = fields.query_of(message.query, f"{field}.query", project=project)
    return _vote_on(query, message, field)


def _vote_on(query: int, message: labels_service_pb2.Answer, field: str) -> Vote:
    return Vote(
        query=query,
        answer=answer_from_pb(
            message.verdict, message.class_name, verdict_field=f"{field}.verdict"
        ),
        seconds=fields.seconds(message.seconds, f"{field}.seconds"),
        tags=tags_from_pb(message.tags, f"{field}.tags") if message.tags else (),
    )


def answer_from_pb(
    verdict: label_pb2.Verdict.ValueType, class_name: str, *, verdict_field: str
) -> Answer:
    """Return an answer; one that says nothing is for the project's rules to refuse."""
    if verdict not in _VERDICTS:
        raise fields.invalid(verdict_field, "TRUE, FALSE or UNSURE", verdict)
    class_field = verdict_field.replace("verdict", "class_name")
    text = fields.text(class_name, class_field, longest=100) if class_name else ""
    return Answer(_VERDICTS[verdict], text or None)


def tags_from_pb(tags: Sequence[str], field: str) -> tuple[str, ...]:
    """Return free words, each once."""
    return _words(tags, field, most=_MAX_TAGS)


def _skills(message: project_pb2.Annotator) -> tuple[str, ...]:
    return _words(message.skills, "annotator.skills", most=_MAX_SKILLS)


def _words(words: Sequence[str], field: str, *, most: int) -> tuple[str, ...]:
    if len(words) > most:
        raise fields.invalid(field, f"at most {most} words", len(words))
    texts = (
        fields.text(word, f"{field}[{number}]", longest=_WORD_LENGTH, required=True)
        for number, word in enumerate(words)
    )
    return tuple(dict.fromkeys(texts))


def skips_from_pb(skips: Sequence[labels_service_pb2.Skip], *, project: str) -> list[Skip]:
    """Return skips of queries of `project`, each query once."""
    _require_count(skips, "skips", most=MAX_ITEMS)
    asked = [
        Skip(
            fields.query_of(message.query, f"skips[{number}].query", project=project),
            fields.text(message.reason, f"skips[{number}].reason", longest=200, required=True),
        )
        for number, message in enumerate(skips)
    ]
    _require_different([skip.query for skip in asked], "skips[{}].query")
    return asked


def export_from_pb(request: labels_service_pb2.ExportSnapshotRequest) -> Export:
    """Return what a snapshot is to be written as."""
    if request.format == labels_service_pb2.EXPORT_FORMAT_UNSPECIFIED:
        raise fields.missing("format")
    if request.format not in _EXPORT_FORMATS:
        raise fields.invalid("format", "CSV, COCO, OME_ZARR or NEUROGLANCER", request.format)
    if request.format == labels_service_pb2.EXPORT_FORMAT_OME_ZARR and not request.candidate_set:
        raise fields.missing("candidate_set")
    return Export(
        _EXPORT_FORMATS[request.format],
        fields.optional_name(request.candidate_set, "candidate_set"),
    )


def imported_from_pb(
    messages: Sequence[labels_service_pb2.ImportedLabel],
) -> list[ImportedLabel]:
    """Return labels that were given elsewhere, one for each query and source."""
    _require_count(messages, "labels", most=MAX_ITEMS)
    labels = [_imported(message, f"labels[{number}]") for number, message in enumerate(messages)]
    seen: set[tuple[object, ...]] = set()
    for number, label in enumerate(labels):
        key = (*label.identity, label.source)
        if key in seen:
            raise fields.invalid(
                f"labels[{number}]", "of another query or source than before", label.identity
            )
        seen.add(key)
    return labels


def _imported(message: labels_service_pb2.ImportedLabel, field: str) -> ImportedLabel:
    if not message.HasField("query"):
        raise fields.missing(f"{field}.query")
    if message.query.role == query_pb2.QUERY_ROLE_GOLD:
        raise fields.invalid(f"{field}.query.role", "STRATEGY or RANDOM", message.query.role)
    answer = message.answer
    return ImportedLabel(
        spec=_spec(message.query, f"{field}.query"),
        answer=answer_from_pb(
            answer.verdict, answer.class_name, verdict_field=f"{field}.answer.verdict"
        ),
        source=fields.text(message.source, f"{field}.source", longest=200, required=True),
        seconds=fields.seconds(answer.seconds, f"{field}.answer.seconds"),
        tags=tags_from_pb(answer.tags, f"{field}.answer.tags"),
    )


def _require_different(queries: Sequence[int], field: str) -> None:
    seen: set[int] = set()
    for number, query in enumerate(queries):
        if query in seen:
            raise fields.invalid(field.format(number), "another query than before", query)
        seen.add(query)


def _require_count(items: Sequence[object], field: str, *, most: int) -> None:
    if not items:
        raise fields.missing(field)
    if len(items) > most:
        raise fields.invalid(field, f"at most {most} items", len(items))
