"""Messages of the training service to the domain and back; checks what comes from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from parfocal.common.v1 import artifact_pb2 as artifact_pb
from parfocal.common.v1 import geometry_pb2 as geometry_pb
from parfocal.training.v1 import training_service_pb2 as pb
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.cards import VARIANT_LIMIT, Precision
from parfocal_training.run_folder import Failure
from parfocal_training.runs import RunView
from parfocal_training.spec import (
    FineTuneBase,
    LabelledBox,
    ModelRef,
    Optimisation,
    RunSpec,
    Task,
    TrainBase,
    TrainVae,
    TuneEncoder,
    UNetShape,
    VoxelSize,
    shape_for,
)

_STREAMS: Mapping[int, str] = {pb.VAE_STREAM_IMAGE: "image", pb.VAE_STREAM_MASK: "mask"}
_VARIANTS: Mapping[int, Precision] = {
    pb.MODEL_VARIANT_FP16: "fp16",
    pb.MODEL_VARIANT_INT8: "int8",
}
_LATENT = {"image": 64, "mask": 20}
_STATES: Mapping[str, artifact_pb.WorkState.ValueType] = {
    "PENDING": artifact_pb.WORK_STATE_PENDING,
    "RUNNING": artifact_pb.WORK_STATE_RUNNING,
    "SUCCEEDED": artifact_pb.WORK_STATE_SUCCEEDED,
    "FAILED": artifact_pb.WORK_STATE_FAILED,
    "CANCELLED": artifact_pb.WORK_STATE_CANCELLED,
}


def spec_from_pb(request: pb.TrainRequest) -> RunSpec:
    """Read a request to train.

    Raises:
        InvalidInput: If a field is missing or has a value that can never work.
    """
    for field in ("run", "model"):
        if not getattr(request, field):
            raise _missing(field)
    kind = request.WhichOneof("task")
    if kind is None:
        raise _missing("task")
    task = _limited(_task_from_pb(request, kind), request.limits)
    return RunSpec(
        run=request.run,
        model=request.model,
        task=task,
        seed=request.seed,
        variants=tuple(dict.fromkeys(_variant(variant) for variant in request.variants)),
        variant_limit=request.variant_limit or VARIANT_LIMIT,
    )


def run_to_pb(view: RunView) -> pb.TrainingRun:
    """Write a run."""
    progress = view.progress
    run = pb.TrainingRun(
        run=view.run,
        state=_STATES[view.state],
        iteration=progress.iteration,
        iterations=progress.iterations,
        seconds=progress.seconds,
        metrics=progress.metrics,
        message=progress.message,
        create_time=_timestamp(view.create_time),
        attempts=view.attempts,
    )
    if view.end_time:
        run.end_time.CopyFrom(_timestamp(view.end_time))
    if view.model is not None:
        run.model.CopyFrom(
            artifact_pb.ModelVersion(name=view.model.name, version=view.model.version)
        )
    if view.failure is not None:
        run.failure.CopyFrom(_failure_to_pb(view.failure))
    return run


def _variant(variant: int) -> Precision:
    if variant not in _VARIANTS:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"there is no variant {variant}",
            field="variants",
            value=variant,
        )
    return _VARIANTS[variant]


def _task_from_pb(request: pb.TrainRequest, kind: str) -> Task:
    if kind == "train_base":
        return _train_base(request.train_base)
    if kind == "fine_tune_base":
        return _fine_tune_base(request.fine_tune_base)
    if kind == "train_vae":
        return _train_vae(request.train_vae)
    tuning = request.tune_encoder
    return TuneEncoder(
        parent=_model(tuning.parent),
        snapshots=_paths(tuning.snapshots, "snapshots"),
        candidates=_paths(tuning.candidates, "candidates"),
    )


def _train_base(task: pb.TrainBase) -> TrainBase:
    regions = _regions(task.regions, "regions")
    return TrainBase(
        regions=regions,
        architecture=_architecture(task.architecture, regions),
        voxel_size_nm=_voxel_size(task.voxel_size) if task.HasField("voxel_size") else None,
    )


def _fine_tune_base(task: pb.FineTuneBase) -> FineTuneBase:
    wanted = FineTuneBase(
        parent=_model(task.parent),
        snapshots=_paths(task.snapshots, "snapshots"),
        candidates=_paths(task.candidates, "candidates"),
        replay=_regions(task.replay, "replay"),
    )
    if not task.HasField("replay_share"):
        return wanted
    return replace(wanted, replay_share=task.replay_share)


def _train_vae(task: pb.TrainVae) -> TrainVae:
    if task.stream not in _STREAMS:
        raise _missing("stream")
    stream = _STREAMS[task.stream]
    given: dict[str, Any] = {
        "patch_side": task.patch_side,
        "widths": tuple(task.widths),
        "kl_weight": task.kl_weight,
    }
    return TrainVae(
        stream=stream,
        images=_paths(task.images, "images"),
        candidates=_paths(task.candidates, "candidates"),
        latent=task.latent or _LATENT[stream],
        **{name: value for name, value in given.items() if value},
    )


def _limited(task: Task, limits: pb.TrainingLimits) -> Task:
    if limits.iterations < 0:
        raise _invalid("limits.iterations", limits.iterations, "must not be negative")
    if not 0 <= limits.seconds < math.inf:
        raise _invalid("limits.seconds", limits.seconds, "must not be negative")
    optimisation: Optimisation = replace(
        task.optimisation,
        iterations=limits.iterations or task.optimisation.iterations,
        seconds=limits.seconds,
    )
    return replace(task, optimisation=optimisation)


def _architecture(shape: pb.UnetArchitecture, boxes: Sequence[LabelledBox]) -> UNetShape:
    return shape_for(
        boxes,
        widths=tuple(shape.widths),
        isotropy=tuple(shape.isotropic),
        window=_triple(shape.window) if shape.HasField("window") else None,
    )


def _regions(regions: Sequence[pb.LabelledRegion], field: str) -> tuple[LabelledBox, ...]:
    return tuple(_region(region, f"{field}[{at}]") for at, region in enumerate(regions))


def _region(region: pb.LabelledRegion, field: str) -> LabelledBox:
    for name in ("image", "truth"):
        if not getattr(region, name):
            raise _missing(f"{field}.{name}")
    if not region.HasField("box"):
        raise _missing(f"{field}.box")
    box = Box(_triple(region.box.start), _triple(region.box.stop))
    return LabelledBox(region.image, region.truth, box)


def _model(model: artifact_pb.ModelVersion) -> ModelRef:
    if not model.name:
        raise _missing("parent")
    return ModelRef(model.name, model.version)


def _paths(paths: Sequence[str], field: str) -> tuple[str, ...]:
    if not all(paths):
        raise _missing(field)
    return tuple(paths)


def _voxel_size(size: geometry_pb.VoxelSize) -> VoxelSize:
    return (size.z, size.y, size.x)


def _triple(index: geometry_pb.Index3) -> Triple:
    return (index.z, index.y, index.x)


def _failure_to_pb(failure: Failure) -> artifact_pb.Failure:
    return artifact_pb.Failure(
        reason=failure.reason, message=failure.message, metadata=dict(failure.metadata)
    )


def _timestamp(time: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(time))
    return stamp


def _missing(field: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_MISSING_FIELD", f"{field} is required", field=field)


def _invalid(field: str, value: object, must: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_INVALID_FIELD", f"{field} {must}", field=field, value=value)
