"""The Open Inference Protocol's requests and answers, beside their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.schedule import Schedule
from parfocal_inference.serving_metrics import ModelStatistics, RunCounts
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.index import IndexEntry
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

_PRIORITY = "priority"
_TIMEOUT = "timeout"
# Triton's parameters that replace what the repository says of a model.
_CONFIG = "config"
_FILE_PREFIX = "file:"


def version_from_pb(text: str, *, field: str) -> int | None:
    """Return the version that a request wants; None is the newest.

    Raises:
        InvalidInput: If it is no decimal number (`ERROR_REASON_INVALID_FIELD`).
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} must be a decimal number, got {text[:40]!r}",
            field=field,
            value=text,
        )
    return int(text)


def schedule_from_pb(request: pb.ModelInferRequest) -> Schedule:
    """Return when a request wants to run.

    Raises:
        InvalidInput: If its `priority` or `timeout` is no whole number from 0
            (`ERROR_REASON_INVALID_FIELD`).
    """
    # Most requests have no parameters, and looking for one costs more than this.
    if not request.parameters:
        return Schedule()
    return Schedule(
        priority=_whole_number(request.parameters, _PRIORITY),
        timeout_us=_whole_number(request.parameters, _TIMEOUT),
    )


def model_to_load(request: pb.RepositoryModelLoadRequest) -> str:
    """Return the name of the model that is to be loaded.

    Raises:
        InvalidInput: If there is none (`ERROR_REASON_MISSING_FIELD`), or the request brings a
            configuration or files (`ERROR_REASON_INVALID_FIELD`).
    """
    for name in request.parameters:
        if name == _CONFIG or name.startswith(_FILE_PREFIX):
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"{name[:40]} is not supported: models come from the repository alone",
                field=f"parameters[{name}]",
            )
    return _model_name(request)


def model_to_unload(request: pb.RepositoryModelUnloadRequest) -> str:
    """Return the name of the model that is to be unloaded.

    Raises:
        InvalidInput: If there is none (`ERROR_REASON_MISSING_FIELD`).
    """
    return _model_name(request)


def config_to_pb(model: LoadedModel) -> config_pb.ModelConfig:
    """Return how a model is served, with facts of its card among the parameters."""
    config = config_pb.ModelConfig()
    config.CopyFrom(model.config)
    card = model.card
    facts = {
        "kind": card.kind,
        "stream": card.stream,
        "voxel_size_nm": ",".join(f"{side:g}" for side in card.voxel_size_nm or ()),
        "halo": ",".join(str(side) for side in card.halo if any(card.halo)),
    }
    for name, value in facts.items():
        if value and name not in config.parameters:
            config.parameters[name].string_value = value
    return config


def index_to_pb(entries: Iterable[IndexEntry]) -> pb.RepositoryIndexResponse:
    """Return the versions of a repository."""
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=entry.name,
                version=str(entry.version or ""),
                state=entry.state,
                reason=entry.reason,
            )
            for entry in entries
        ]
    )


def statistics_to_pb(name: str, version: int, counted: ModelStatistics) -> pb.ModelStatistics:
    """Return what was counted of a model version."""
    answered, failed = counted.successes, sum(counted.failures.values())
    return pb.ModelStatistics(
        name=name,
        version=str(version),
        last_inference=counted.last_ended_ms,
        inference_count=counted.rows,
        execution_count=counted.runs,
        inference_stats=pb.InferStatistics(
            success=_duration(answered, counted.request_ns),
            fail=_duration(failed, counted.failed_ns),
            queue=_duration(answered, counted.queue_ns),
            compute_input=_duration(answered, counted.compute_input_ns),
            compute_infer=_duration(answered, counted.compute_infer_ns),
            compute_output=_duration(answered, counted.compute_output_ns),
        ),
        batch_stats=[_runs_to_pb(rows, runs) for rows, runs in sorted(counted.by_rows.items())],
    )


def _runs_to_pb(rows: int, counted: RunCounts) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=rows,
        compute_input=_duration(counted.runs, counted.compute_input_ns),
        compute_infer=_duration(counted.runs, counted.compute_infer_ns),
        compute_output=_duration(counted.runs, counted.compute_output_ns),
    )


def _duration(count: int, ns: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=ns)


def _whole_number(parameters: Mapping[str, pb.InferParameter], name: str) -> int:
    if name not in parameters:
        return 0
    parameter = parameters[name]
    # The protocol says int64; Triton's client sends a priority as uint64.
    kind = parameter.WhichOneof("parameter_choice")
    value = parameter.uint64_param if kind == "uint64_param" else parameter.int64_param
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{name} must be a whole number from 0, in int64_param",
            field=f"parameters[{name}]",
        )
    return value


def _model_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    # KServe's messages have the name where Triton's have the repository.
    name = request.model_name or request.repository_name
    if not name:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD", "model_name is missing", field="model_name"
        )
    return name
