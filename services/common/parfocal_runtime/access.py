"""Who may call what: one row for every method of every service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parfocal_runtime.errors import PermissionDenied
from parfocal_runtime.places import Finder, project_finder
from parfocal_runtime.principals import Account, Principal, Role

_VIEWER, _ANNOTATOR, _CURATOR, _ADMIN = Role.VIEWER, Role.ANNOTATOR, Role.CURATOR, Role.ADMIN

PUBLIC_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)
"""Methods that need no caller: probes, and the description of the interface."""


@dataclass(frozen=True)
class Rule:
    """Who may call a method.

    The caller needs the role in every project that the request names. A rule without places
    and not `anywhere` is about the whole installation: the role must be one for everywhere.

    Attributes:
        role: The least role.
        names: Fields of the request with resource names, `projects/{project}` or longer.
        ids: Fields with bare names of projects.
        paths: Fields with paths in the object store; one outside of `projects/` takes the role
            everywhere.
        anywhere: Whether the call is about no project, so that a role in any one suffices.
        changes: Whether the method changes something, and so belongs into the audit trail.
    """

    role: Role
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    anywhere: bool = False
    changes: bool = False

    def finder(self, roots: Sequence[str] = ()) -> Finder:
        """Return what finds the projects of a request; `roots` are the object store's URIs."""
        if self.anywhere:
            return lambda request: ()
        return project_finder(names=self.names, ids=self.ids, paths=self.paths, roots=roots)


def _reads(role: Role, *names: str, paths: Iterable[str] = ()) -> Rule:
    return Rule(role, names, paths=tuple(paths))


def _changes(role: Role, *names: str, paths: Iterable[str] = ()) -> Rule:
    return Rule(role, names, paths=tuple(paths), changes=True)


def _under(field: str, paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{field}.{path}" for path in paths)


_REGION = ("image", "truth")
_TRAIN = (
    *_under("train_base.regions", _REGION),
    "fine_tune_base.snapshots",
    "fine_tune_base.candidates",
    *_under("fine_tune_base.replay", _REGION),
    "train_vae.images",
    "train_vae.candidates",
    "tune_encoder.snapshots",
    "tune_encoder.candidates",
)
_SEGMENT = ("image", "prediction")
_PROPOSE = ("candidates", "sources.image", "sources.prediction")
_EMBED = ("candidates", "embeddings")
_JOB = (
    *_under("train", _TRAIN),
    *_under("segment", _SEGMENT),
    *_under("propose", _PROPOSE),
    *_under("embed", _EMBED),
)
_ROUND = (
    "images.image",
    "candidates",
    "constraints.regions.mask",
    *_under("training.replay", _REGION),
)
_SUGGEST = (
    "candidates",
    "features.array",
    "predictions.array",
    "measures.array",
    "constraints.regions.mask",
)
_QUERY = ("image", "patches")
# The interface of models, which belong to no project.
_MODELS = Rule(_VIEWER, anywhere=True)
_SERVER = Rule(_ADMIN, changes=True)

_RULES_BY_SERVICE: dict[str, dict[str, Rule]] = {
    "parfocal.labels.v1.LabelsService": {
        "CreateProject": Rule(_CURATOR, ids=("project_id",), changes=True),
        "GetProject": _reads(_VIEWER, "name"),
        # The service leaves out what the caller may not see.
        "ListProjects": Rule(_VIEWER, anywhere=True),
        "UpdateProject": _changes(_CURATOR, "project.name"),
        "AddQueries": _changes(_CURATOR, "parent", paths=_under("queries", _QUERY)),
        "WithdrawQueries": _changes(_CURATOR, "parent"),
        "ListQueries": _reads(_VIEWER, "parent"),
        "LeaseQueries": _changes(_ANNOTATOR, "parent"),
        "RenewLeases": _changes(_ANNOTATOR, "parent"),
        "ReleaseQueries": _changes(_ANNOTATOR, "parent"),
        "SkipQueries": _changes(_ANNOTATOR, "parent"),
        "SubmitLabels": _changes(_ANNOTATOR, "parent"),
        "RetractLabel": _changes(_ANNOTATOR, "name"),
        "ReviseLabel": _changes(_ANNOTATOR, "name"),
        "AdjudicateQuery": _changes(_CURATOR, "answer.query"),
        "ImportLabels": _changes(_CURATOR, "parent", paths=_under("labels.query", _QUERY)),
        "UpdateAnnotator": _changes(_CURATOR, "annotator.name"),
        "ListAnnotators": _reads(_CURATOR, "parent"),
        "ListLabels": _reads(_VIEWER, "parent"),
        "WatchLabels": _reads(_VIEWER, "parent"),
        "ListConsensus": _reads(_VIEWER, "parent"),
        "CreateSnapshot": _changes(_CURATOR, "parent"),
        "ExportSnapshot": _changes(_CURATOR, "name"),
        "GetAgreement": _reads(_VIEWER, "parent"),
        "GetProgress": _reads(_VIEWER, "parent"),
    },
    "parfocal.inference.v1.InferenceService": {
        "SegmentBlock": _changes(_CURATOR, paths=_SEGMENT),
        "ProposeCandidates": _changes(_CURATOR, paths=_PROPOSE),
        "DetectPatches": _changes(_CURATOR, paths=("image", "detections")),
    },
    "parfocal.embedding.v1.EmbeddingService": {
        "EmbedCandidates": _changes(_CURATOR, paths=_EMBED),
        "EmbedPatches": Rule(_ANNOTATOR, anywhere=True),
        "FindSimilar": _reads(_ANNOTATOR, paths=("image",)),
        "ProposeBackground": _reads(_ANNOTATOR, paths=("image",)),
    },
    "parfocal.suggestion.v1.SuggestionService": {
        "Suggest": _changes(_CURATOR, "parent", paths=_SUGGEST),
        "GetSelection": _reads(_VIEWER, "name"),
        "ReplaySelection": _reads(_VIEWER, "name"),
        "ExplainSelection": _reads(_VIEWER, "name"),
        "PropagateLabels": _reads(
            _VIEWER,
            "parent",
            "cell_majority.selection",
            "learned_model.selections",
            paths=("candidates", "learned_model.features.array"),
        ),
        "ListStrategies": Rule(_VIEWER, anywhere=True),
    },
    "parfocal.training.v1.TrainingService": {
        "Train": _changes(_CURATOR, paths=_TRAIN),
        # A run has a name of its own, which does not say whose data it learns from.
        "GetRun": Rule(_VIEWER),
        "CancelRun": Rule(_CURATOR, changes=True),
    },
    "parfocal.loop.v1.LoopService": {
        "CreateRound": _changes(_CURATOR, "parent", paths=_under("round.spec", _ROUND)),
        "GetRound": _reads(_VIEWER, "name"),
        "ListRounds": _reads(_VIEWER, "parent"),
        "CancelRound": _changes(_CURATOR, "name"),
        "RetryRound": _changes(_CURATOR, "name"),
        "WatchRound": _reads(_VIEWER, "name"),
        "CreateJob": _changes(_CURATOR, "parent", paths=_under("job", _JOB)),
        "GetJob": _reads(_VIEWER, "name"),
        "ListJobs": _reads(_VIEWER, "parent"),
        "CancelJob": _changes(_CURATOR, "name"),
        "RetryJob": _changes(_CURATOR, "name"),
        "WatchJob": _reads(_VIEWER, "name"),
    },
    # The Open Inference Protocol with Triton's repository calls. What names memory or files of
    # the server, or changes it for everybody, is for admins.
    "inference.GRPCInferenceService": {
        "ServerMetadata": _MODELS,
        "ModelReady": _MODELS,
        "ModelMetadata": _MODELS,
        "ModelInfer": _MODELS,
        "ModelStreamInfer": _MODELS,
        "ModelConfig": _MODELS,
        "ModelStatistics": _MODELS,
        "RepositoryIndex": _MODELS,
        "RepositoryModelLoad": _SERVER,
        "RepositoryModelUnload": _SERVER,
        "SystemSharedMemoryStatus": _SERVER,
        "SystemSharedMemoryRegister": _SERVER,
        "SystemSharedMemoryUnregister": _SERVER,
        "CudaSharedMemoryStatus": _SERVER,
        "CudaSharedMemoryRegister": _SERVER,
        "CudaSharedMemoryUnregister": _SERVER,
        "TraceSetting": _SERVER,
        "LogSettings": _SERVER,
    },
    # MLServer's name for the repository calls.
    "inference.model_repository.ModelRepositoryService": {
        "RepositoryIndex": _MODELS,
        "RepositoryModelLoad": _SERVER,
        "RepositoryModelUnload": _SERVER,
    },
}

METHOD_RULES: dict[str, Rule] = {
    f"/{service}/{method}": rule
    for service, methods in _RULES_BY_SERVICE.items()
    for method, rule in methods.items()
}
"""The rule of each method, by its full name; what is missing nobody may call."""


def method_without_rule(method: str) -> PermissionDenied:
    """Return the refusal of a method that is missing in the table."""
    return PermissionDenied(
        "ERROR_REASON_METHOD_WITHOUT_ROLE", f"no role may call {method}", method=method
    )


def require_access(
    account: Account, method: str, rule: Rule, *, projects: Sequence[str]
) -> Principal:
    """Return the caller of a request, with the role that they have in it.

    Args:
        account: Who calls.
        method: Full name of the method.
        rule: Its rule.
        projects: What the rule's finder found in the request.

    Raises:
        PermissionDenied: If the role is too low (`ERROR_REASON_ROLE_TOO_LOW`) in one of the
            projects.
    """
    if rule.anywhere:
        return require_access_somewhere(account, method, rule)
    # Most callers have one role for everywhere.
    project, role = projects[0], account.role
    if account.projects:
        project = min(projects, key=lambda each: account.role_in(each) or 0)
        role = account.role_in(project)
    if role is None or role < rule.role:
        raise _too_low(account, method, rule, role=role, project=project)
    return account.acting_with(role)


def require_access_somewhere(account: Account, method: str, rule: Rule) -> Principal:
    """Return the caller of a request that is about no project, or whose project is not known yet.

    Raises:
        PermissionDenied: If no role of theirs suffices (`ERROR_REASON_ROLE_TOO_LOW`).
    """
    role = account.highest
    if role is None or role < rule.role:
        raise _too_low(account, method, rule, role=role, project="")
    return account.acting_with(role)


def _too_low(
    account: Account, method: str, rule: Rule, *, role: Role | None, project: str
) -> PermissionDenied:
    needed, given = rule.role.name.lower(), role.name.lower() if role else "none"
    place = f" in the project {project}" if project else ""
    error = PermissionDenied(
        "ERROR_REASON_ROLE_TOO_LOW",
        f"{method} needs the role {needed}{place}, {account.name} has {given}",
        method=method,
        required_role=needed,
        role=given,
    )
    if project:
        error.metadata["project"] = project
    return error
