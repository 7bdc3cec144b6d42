"""Where the copies of a model run: on which provider and device, and how many at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.providers import (
    CPU,
    CUDA,
    ON_GPU,
    OPENVINO,
    PRECISION,
    TENSORRT,
    SessionOptions,
)
from parfocal_runtime.triton.v1 import model_config_pb2 as pb

_Accelerators = Sequence[pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]

_SHRINKS = "memory.enable_memory_arena_shrinkage"
_THREADS = "intra_op_thread_count"

# Triton's settings of accelerators, by ONNX Runtime's names. Nothing else is passed on: a setting
# can name a file that is written, and whoever publishes a model would choose it.
_CUDA_SETTINGS = (
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "gpu_mem_limit",
    "prefer_nhwc",
    "use_tf32",
)
_SEARCHES = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
_PRECISIONS = {"FP32": "0", "FP16": "1"}
_OPENVINO_PRECISIONS = {"FP32": "f32", "BF16": "bf16"}


@dataclass(frozen=True)
class Placement:
    """Copies of a model in one place.

    Attributes:
        options: How they run there.
        instances: How many runs there may be at once.
        side_by_side: How many runs of one thread each there may be beside each other, for many
            rows; 0 is none.
    """

    options: SessionOptions
    instances: int = 1
    side_by_side: int = 0

    @property
    def has_single(self) -> bool:
        """Whether its runs of one thread need a session of their own."""
        return self.side_by_side > 0 and self.options.threads != 1


def placements(config: pb.ModelConfig, options: SessionOptions) -> tuple[Placement, ...]:
    """Return where the copies of a model run, as its configuration says.

    `KIND_GPU` demands a GPU and `KIND_CPU` the processor; otherwise the model runs as all models
    of the process do. What is demanded and not there is not replaced here or later.

    Args:
        config: The configuration of the model.
        options: How all models of the process run.

    Raises:
        InvalidInput: If it names an accelerator or a setting of one that there is not
            (`ERROR_REASON_INVALID_MODEL`).
    """
    common = _with_parameters(options, config.parameters)
    accelerators = config.optimization.execution_accelerators
    active = [group for group in config.instance_group if not group.passive]
    found: dict[tuple[bool, int], Placement] = {}
    for group in active or [pb.ModelInstanceGroup()]:
        for placed in _of_group(group, common, accelerators):
            key = (placed.options.on_gpu, placed.options.device)
            before = found[key].instances if key in found else 0
            found[key] = replace(placed, instances=before + placed.instances)
    return tuple(found.values())


def _of_group(
    group: pb.ModelInstanceGroup,
    options: SessionOptions,
    accelerators: pb.ModelOptimizationPolicy.ExecutionAccelerators,
) -> Iterator[Placement]:
    on_gpu = _is_on_gpu(group.kind, options, accelerators)
    kept = tuple(name for name in options.providers if (name in ON_GPU) == on_gpu)
    if on_gpu:
        chosen = _accelerated(
            replace(options, providers=kept or (CUDA,)), accelerators.gpu_execution_accelerator
        )
    else:
        chosen = _accelerated(
            replace(options, providers=kept or (CPU,)), accelerators.cpu_execution_accelerator
        )
    for device in group.gpus or [options.device]:
        yield Placement(replace(chosen, device=device), max(1, group.count))


def _is_on_gpu(
    kind: int,
    options: SessionOptions,
    accelerators: pb.ModelOptimizationPolicy.ExecutionAccelerators,
) -> bool:
    if kind in (pb.ModelInstanceGroup.KIND_GPU, pb.ModelInstanceGroup.KIND_CPU):
        return kind == pb.ModelInstanceGroup.KIND_GPU
    # An accelerator that only a GPU can be is a demand for one.
    only_gpu = bool(
        accelerators.gpu_execution_accelerator and not accelerators.cpu_execution_accelerator
    )
    return options.on_gpu or only_gpu


def _accelerated(options: SessionOptions, accelerators: _Accelerators) -> SessionOptions:
    providers = list(options.providers)
    settings = {name: dict(each) for name, each in options.settings.items()}
    for accelerator in reversed(accelerators):
        provider, found = _provider(accelerator.name, accelerator.parameters)
        if (provider in ON_GPU and not options.on_gpu) or (provider == OPENVINO and options.on_gpu):
            raise _unknown(f"{accelerator.name} is no accelerator of this kind of instance")
        providers = [provider, *(name for name in providers if name != provider)]
        settings.setdefault(provider, {}).update(found)
    return replace(options, providers=tuple(providers), settings=settings)


def _provider(name: str, parameters: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if name == "cuda":
        return CUDA, dict(_cuda_setting(*each) for each in sorted(parameters.items()))
    if name == "tensorrt":
        return TENSORRT, dict(_tensorrt_setting(*each) for each in sorted(parameters.items()))
    if name == "openvino":
        return OPENVINO, dict(_openvino_setting(*each) for each in sorted(parameters.items()))
    raise _unknown(f"there is no accelerator {name!r}; there are cuda, tensorrt and openvino")


def _cuda_setting(name: str, value: str) -> tuple[str, str]:
    if name not in _CUDA_SETTINGS:
        raise _unknown(f"the accelerator cuda has no setting {name!r} here")
    return name, _SEARCHES.get(value, value) if name == "cudnn_conv_algo_search" else value


def _openvino_setting(name: str, value: str) -> tuple[str, str]:
    if name != "precision_mode":
        raise _unknown(f"the accelerator openvino has no setting {name!r} here")
    if value not in _OPENVINO_PRECISIONS:
        raise _unknown(f"precision_mode is FP32 or BF16, not {value!r}")
    return PRECISION, _OPENVINO_PRECISIONS[value]


def _tensorrt_setting(name: str, value: str) -> tuple[str, str]:
    if name == "max_workspace_size_bytes":
        return "trt_max_workspace_size", value
    if name == "precision_mode" and value in _PRECISIONS:
        return "trt_fp16_enable", _PRECISIONS[value]
    raise _unknown(f"the accelerator tensorrt has no setting {name!r} of {value!r} here")


def _with_parameters(
    options: SessionOptions, parameters: Mapping[str, pb.ModelParameter]
) -> SessionOptions:
    if _SHRINKS in parameters:
        value = parameters[_SHRINKS].string_value
        options = replace(options, shrinks="gpu" in value or value == "1")
    if _THREADS in parameters:
        value = parameters[_THREADS].string_value
        if not (value.isascii() and value.isdigit() and len(value) <= 4):
            raise _unknown(f"{_THREADS} must be a number of threads, got {value[:40]!r}")
        options = replace(options, threads=int(value))
    return options


def _unknown(cause: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"config.pbtxt cannot be honoured: {cause}",
        field="config.pbtxt",
        cause=cause,
    )
