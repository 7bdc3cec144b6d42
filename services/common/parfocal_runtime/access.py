"""Who may call what: one row for every method of every service."""

from __future__ import annotations

from collections.abc import Mapping

from parfocal_runtime.auth import Principal, Role
from parfocal_runtime.errors import PermissionDenied, Unauthenticated

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

_ROLES_BY_SERVICE: dict[str, dict[str, Role]] = {
    "parfocal.labels.v1.LabelsService": {
        "CreateProject": _CURATOR,
        "GetProject": _VIEWER,
        "ListProjects": _VIEWER,
        "UpdateProject": _CURATOR,
        "AddQueries": _CURATOR,
        "WithdrawQueries": _CURATOR,
        "ListQueries": _VIEWER,
        "LeaseQueries": _ANNOTATOR,
        "RenewLeases": _ANNOTATOR,
        "ReleaseQueries": _ANNOTATOR,
        "SkipQueries": _ANNOTATOR,
        "SubmitLabels": _ANNOTATOR,
        "RetractLabel": _ANNOTATOR,
        "ReviseLabel": _ANNOTATOR,
        "AdjudicateQuery": _CURATOR,
        "ImportLabels": _CURATOR,
        "UpdateAnnotator": _CURATOR,
        "ListAnnotators": _CURATOR,
        "ListLabels": _VIEWER,
        "WatchLabels": _VIEWER,
        "ListConsensus": _VIEWER,
        "CreateSnapshot": _CURATOR,
        "ExportSnapshot": _CURATOR,
        "GetAgreement": _VIEWER,
        "GetProgress": _VIEWER,
    },
    "parfocal.inference.v1.InferenceService": {
        "SegmentBlock": _CURATOR,
        "ProposeCandidates": _CURATOR,
        "DetectPatches": _CURATOR,
    },
    "parfocal.embedding.v1.EmbeddingService": {
        "EmbedCandidates": _CURATOR,
        "EmbedPatches": _ANNOTATOR,
        "FindSimilar": _ANNOTATOR,
        "ProposeBackground": _ANNOTATOR,
    },
    "parfocal.suggestion.v1.SuggestionService": {
        "Suggest": _CURATOR,
        "GetSelection": _VIEWER,
        "ReplaySelection": _VIEWER,
        "ExplainSelection": _VIEWER,
        "PropagateLabels": _VIEWER,
        "ListStrategies": _VIEWER,
    },
    "parfocal.training.v1.TrainingService": {
        "Train": _CURATOR,
        "GetRun": _VIEWER,
        "CancelRun": _CURATOR,
    },
    "parfocal.loop.v1.LoopService": {
        "CreateRound": _CURATOR,
        "GetRound": _VIEWER,
        "ListRounds": _VIEWER,
        "CancelRound": _CURATOR,
        "WatchRound": _VIEWER,
        "CreateJob": _CURATOR,
        "GetJob": _VIEWER,
        "ListJobs": _VIEWER,
        "CancelJob": _CURATOR,
        "WatchJob": _VIEWER,
    },
    # The Open Inference Protocol with Triton's repository calls. What names memory or files of
    # the server, or changes it for everybody, is for admins.
    "inference.GRPCInferenceService": {
        "ServerMetadata": _VIEWER,
        "ModelReady": _VIEWER,
        "ModelMetadata": _VIEWER,
        "ModelInfer": _VIEWER,
        "ModelStreamInfer": _VIEWER,
        "ModelConfig": _VIEWER,
        "ModelStatistics": _VIEWER,
        "RepositoryIndex": _VIEWER,
        "RepositoryModelLoad": _ADMIN,
        "RepositoryModelUnload": _ADMIN,
        "SystemSharedMemoryStatus": _ADMIN,
        "SystemSharedMemoryRegister": _ADMIN,
        "SystemSharedMemoryUnregister": _ADMIN,
        "CudaSharedMemoryStatus": _ADMIN,
        "CudaSharedMemoryRegister": _ADMIN,
        "CudaSharedMemoryUnregister": _ADMIN,
        "TraceSetting": _ADMIN,
        "LogSettings": _ADMIN,
    },
}

METHOD_ROLES: dict[str, Role] = {
    f"/{service}/{method}": role
    for service, methods in _ROLES_BY_SERVICE.items()
    for method, role in methods.items()
}
"""The least role that may call a method, by its full name; what is missing nobody may call."""


def require_access(
    caller: Principal | None, full_method: str, roles: Mapping[str, Role] = METHOD_ROLES
) -> Principal:
    """Return `caller` if they may call the method.

    Raises:
        Unauthenticated: If nobody calls (`ERROR_REASON_TOKEN_MISSING`).
        PermissionDenied: If the role is too low (`ERROR_REASON_ROLE_TOO_LOW`) or the method has
            no row in the table (`ERROR_REASON_METHOD_WITHOUT_ROLE`).
    """
    if caller is None:
        raise Unauthenticated("ERROR_REASON_TOKEN_MISSING", "a bearer token is needed")
    least = roles.get(full_method)
    if least is None:
        raise PermissionDenied(
            "ERROR_REASON_METHOD_WITHOUT_ROLE",
            f"no role may call {full_method}",
            method=full_method,
        )
    if caller.role < least:
        raise PermissionDenied(
            "ERROR_REASON_ROLE_TOO_LOW",
            f"{full_method} needs the role {least.name.lower()}, "
            f"{caller.name} has {caller.role.name.lower()}",
            method=full_method,
            required_role=least.name.lower(),
            role=caller.role.name.lower(),
        )
    return caller
