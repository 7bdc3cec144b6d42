"""Messages of the inference service to the domain and back; checks what comes from outside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from parfocal.common.v1 import artifact_pb2 as artifact_pb
from parfocal.common.v1 import geometry_pb2 as geometry_pb
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal_inference.augmentation import COPIES
from parfocal_inference.candidates import Eligibility, SliceRule
from parfocal_inference.components import ComponentRule, Connectivity
from parfocal_inference.detections import Detected, DetectionTask
from parfocal_inference.emptiness import LowContrast
from parfocal_inference.propose import DEFAULT_BLOCK, Proposal, Proposed, Source
from parfocal_inference.segmentation import BlockDone, BlockTask
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput, naming
from parfocal_runtime.layout import checked_name

Resolve: TypeAlias = Callable[[str], str]
"""Turns what a caller named into a path of the object store, or raises."""

DEFAULT_THRESHOLD = 0.5
DEFAULT_MINIMUM_VOXELS = 30
DEFAULT_PATCH_SIDE = 64

_PREDICTION = re.compile(r"projects/([^/]+)/predictions/.+")
_DETECTIONS = re.compile(r"projects/([^/]+)/detections/.+\.parquet")
_CANDIDATES = re.compile(r"projects/([^/]+)/candidates/([^/]+)")
_CONNECTIVITY = {
    pb.CONNECTIVITY_UNSPECIFIED: Connectivity.PLANAR_8,
    pb.CONNECTIVITY_PLANAR_4: Connectivity.PLANAR_4,
    pb.CONNECTIVITY_PLANAR_8: Connectivity.PLANAR_8,
    pb.CONNECTIVITY_VOLUME_6: Connectivity.VOLUME_6,
    pb.CONNECTIVITY_VOLUME_18: Connectivity.VOLUME_18,
    pb.CONNECTIVITY_VOLUME_26: Connectivity.VOLUME_26,
}
_SLICE_RULES = {
    pb.SLICE_RULE_UNSPECIFIED: SliceRule.LARGEST_AREA,
    pb.SLICE_RULE_LARGEST_AREA: SliceRule.LARGEST_AREA,
    pb.SLICE_RULE_NEAREST_CENTER: SliceRule.NEAREST_CENTER,
}

_Number = TypeVar("_Number", int, float)
_Key = TypeVar("_Key", bound=int)
_Rule = TypeVar("_Rule")


def block_task_from_pb(
    request: pb.SegmentBlockRequest, resolve: Resolve, *, most_voxels: int
) -> BlockTask:
    """Read a request to predict a block.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If an array lies outside the store.
    """
    if not request.HasField("box"):
        raise _missing("box")
    box = box_from_pb(request.box, field="box")
    if box.voxels > most_voxels:
        raise _invalid("box", box.voxels, f"may have at most {most_voxels} voxels")
    return BlockTask(
        image=_path_from_pb(request.image, resolve, field="image"),
        prediction=_prediction_from_pb(request.prediction, resolve, field="prediction"),
        box=box,
        model=_model_from_pb(request.model),
        version=request.model.version or None,
        overlap=_overlap_from_pb(request),
        augmentation=_augmentation_from_pb(request),
        empty=_empty_from_pb(request),
    )


def block_done_to_pb(done: BlockDone) -> pb.SegmentBlockResponse:
    """Write what became of a block."""
    return pb.SegmentBlockResponse(
        model=artifact_pb.ModelVersion(name=done.model, version=done.version),
        windows=done.windows,
        already_done=done.already_done,
        model_seconds=done.model_seconds,
        seconds=done.seconds,
        windows_skipped=done.skipped,
        store_seconds=done.store_seconds,
        memory_bytes=done.memory_bytes,
    )


def proposal_from_pb(
    request: pb.ProposeCandidatesRequest, resolve: Resolve, *, most_voxels: int
) -> Proposal:
    """Read a request for a candidate set.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If an array or folder lies outside the store.
    """
    if not request.sources:
        raise _missing("sources")
    return Proposal(
        folder=_candidates_from_pb(request.candidates, resolve),
        sources=tuple(
            _source_from_pb(source, resolve, field=f"sources[{number}]")
            for number, source in enumerate(request.sources)
        ),
        rule=ComponentRule(
            threshold=_threshold_from_pb(request.threshold),
            connectivity=_rule(_CONNECTIVITY, request.connectivity, field="connectivity"),
            minimum_voxels=_within(
                request.minimum_voxels or DEFAULT_MINIMUM_VOXELS, 1, None, field="minimum_voxels"
            ),
        ),
        slice_rule=_rule(_SLICE_RULES, request.slice_rule, field="slice_rule"),
        patch_side=_within(request.patch_side or DEFAULT_PATCH_SIDE, 16, 512, field="patch_side"),
        block=_block_from_pb(request, most_voxels),
    )


def proposed_to_pb(folder: str, proposed: Proposed) -> pb.ProposeCandidatesResponse:
    """Write what became of a candidate set."""
    return pb.ProposeCandidatesResponse(
        candidates=folder, count=proposed.count, already_done=proposed.already_done
    )


def detection_from_pb(
    request: pb.DetectPatchesRequest, resolve: Resolve, *, most_voxels: int
) -> DetectionTask:
    """Read a request to detect objects.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If an array or table lies outside the store.
    """
    if not request.HasField("box"):
        raise _missing("box")
    box = box_from_pb(request.box, field="box")
    if box.voxels > most_voxels:
        raise _invalid("box", box.voxels, f"may have at most {most_voxels} voxels")
    table = _path_from_pb(request.detections, resolve, field="detections")
    match = _DETECTIONS.fullmatch(table)
    if match is None:
        form = "projects/{project}/detections/....parquet"
        raise _ill_formed("detections", request.detections, form)
    checked_name(match[1], field="detections")
    return DetectionTask(
        image=_path_from_pb(request.image, resolve, field="image"),
        table=table,
        box=box,
        model=_model_from_pb(request.model),
        version=request.model.version or None,
        stride=_within(request.stride, 0, None, field="stride"),
        threshold=_threshold_from_pb(request.threshold),
        left_out=tuple(request.left_out),
    )


def detected_to_pb(table: str, detected: Detected) -> pb.DetectPatchesResponse:
    """Write what became of a detection."""
    return pb.DetectPatchesResponse(
        detections=table, count=detected.count, already_done=detected.already_done
    )


def box_from_pb(box: geometry_pb.Box, *, field: str) -> Box:
    """Read a box.

    Raises:
        InvalidInput: If it has a side that is zero or negative (`ERROR_REASON_INVALID_BOX`).
    """
    try:
        return Box(_index_from_pb(box.start), _index_from_pb(box.stop))
    except InvalidInput as error:
        error.metadata["field"] = field
        raise


def _index_from_pb(index: geometry_pb.Index3) -> Triple:
    return (index.z, index.y, index.x)


def _source_from_pb(source: pb.CandidateSource, resolve: Resolve, *, field: str) -> Source:
    region = (
        box_from_pb(source.region, field=f"{field}.region") if source.HasField("region") else None
    )
    exclude = tuple(
        box_from_pb(box, field=f"{field}.exclude[{place}]")
        for place, box in enumerate(source.exclude)
    )
    return Source(
        image=_path_from_pb(source.image, resolve, field=f"{field}.image"),
        prediction=_path_from_pb(source.prediction, resolve, field=f"{field}.prediction"),
        eligibility=Eligibility(region, exclude),
    )


def _path_from_pb(uri: str, resolve: Resolve, *, field: str) -> str:
    if not uri:
        raise _missing(field)
    with naming(field):
        return resolve(uri)


def _prediction_from_pb(uri: str, resolve: Resolve, *, field: str) -> str:
    path = _path_from_pb(uri, resolve, field=field)
    match = _PREDICTION.fullmatch(path)
    if match is None:
        raise _ill_formed(field, uri, "projects/{project}/predictions/...")
    checked_name(match[1], field=field)
    return path


def _candidates_from_pb(uri: str, resolve: Resolve) -> str:
    path = _path_from_pb(uri, resolve, field="candidates")
    match = _CANDIDATES.fullmatch(path)
    if match is None:
        raise _ill_formed("candidates", uri, "projects/{project}/candidates/{set}")
    for name in match.groups():
        checked_name(name, field="candidates")
    return path


def _model_from_pb(model: artifact_pb.ModelVersion) -> str:
    if not model.name:
        raise _missing("model")
    if model.version < 0:
        raise _invalid("model", model.version, "cannot have a negative version")
    return model.name


def _augmentation_from_pb(request: pb.SegmentBlockRequest) -> int:
    copies = request.augmentation or 1
    if copies not in COPIES:
        raise _invalid("augmentation", copies, f"must be one of {', '.join(map(str, COPIES))}")
    return copies


def _empty_from_pb(request: pb.SegmentBlockRequest) -> LowContrast | None:
    if not request.HasField("empty"):
        return None
    return LowContrast(_within(request.empty.contrast, 0, 255, field="empty.contrast"))


def _overlap_from_pb(request: pb.SegmentBlockRequest) -> float | None:
    if not request.HasField("overlap"):
        return None
    if not 0 <= request.overlap < 0.9:
        raise _invalid("overlap", request.overlap, "must be at least 0 and below 0.9")
    return request.overlap


def _threshold_from_pb(threshold: float) -> float:
    if threshold == 0:
        return DEFAULT_THRESHOLD
    if not 0 < threshold < 1:
        raise _invalid("threshold", threshold, "must be above 0 and below 1")
    return threshold


def _block_from_pb(request: pb.ProposeCandidatesRequest, most_voxels: int) -> Triple:
    if not request.HasField("block_shape"):
        return DEFAULT_BLOCK
    block = _index_from_pb(request.block_shape)
    if min(block) < 1 or math.prod(block) > most_voxels:
        raise _invalid(
            "block_shape", block, f"must have positive sides and at most {most_voxels} voxels"
        )
    return block


def _within(value: _Number, least: _Number, most: _Number | None, *, field: str) -> _Number:
    if value < least or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most}"
        raise _invalid(field, value, f"must be at least {least}{upper}")
    return value


def _rule(rules: Mapping[_Key, _Rule], number: _Key, *, field: str) -> _Rule:
    if number not in rules:
        raise _invalid(field, number, "is not a known rule")
    return rules[number]


def _missing(field: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_MISSING_FIELD", f"{field} must be set", field=field)


def _ill_formed(field: str, uri: str, form: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_URI", f"{field} must be {form}, got {uri!r}", field=field, uri=uri
    )


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {fault}, got {value!r}", field=field, value=value
    )
