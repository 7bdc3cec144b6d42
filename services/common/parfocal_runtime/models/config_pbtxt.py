"""Triton's `config.pbtxt`: how a model of the repository is served."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.datatypes import triton_name
from parfocal_runtime.models.sessions import TensorSpec
from parfocal_runtime.triton.v1 import model_config_pb2 as pb

PLATFORM = "onnxruntime_onnx"
DEFAULT_MAX_BATCH_SIZE = 64


def default_config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> pb.ModelConfig:
    """Return the configuration of a model that nobody has tuned: batch what waits, add no delay.

    Only a graph whose inputs and outputs all name their first side alike is taken to have a batch
    dimension: where an output may have other rows, those of two callers could not be told apart.
    """
    config = pb.ModelConfig(name=name, platform=PLATFORM)
    if _keeps_rows((*inputs, *outputs)):
        config.max_batch_size = DEFAULT_MAX_BATCH_SIZE
        config.dynamic_batching.SetInParent()
    _set_tensors(config, inputs, outputs)
    return config


def with_tensors(
    config: pb.ModelConfig, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> pb.ModelConfig:
    """Return `config` with the inputs and outputs of a newer version, and all else as it was."""
    changed = pb.ModelConfig()
    changed.CopyFrom(config)
    del changed.input[:], changed.output[:]
    if not all(spec.has_batch for spec in (*inputs, *outputs)):
        changed.max_batch_size = 0
        changed.ClearField("dynamic_batching")
    _set_tensors(changed, inputs, outputs)
    return changed


def read_config(text: bytes) -> pb.ModelConfig:
    """Return the configuration in a `config.pbtxt`; settings that are not known are passed over.

    Raises:
        InvalidInput: If it is not one (`ERROR_REASON_INVALID_MODEL`).
    """
    config = pb.ModelConfig()
    try:
        text_format.Parse(text.decode(), config, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_MODEL",
            f"config.pbtxt cannot be read: {error}",
            field="config.pbtxt",
            cause=str(error),
        ) from error
    return config


def write_config(config: pb.ModelConfig) -> bytes:
    """Return the content of a `config.pbtxt`."""
    return text_format.MessageToString(config).encode()


def _keeps_rows(specs: Sequence[TensorSpec]) -> bool:
    names = {spec.symbols[0] if spec.has_batch else "" for spec in specs}
    return len(names) == 1 and "" not in names


def _set_tensors(
    config: pb.ModelConfig, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    for spec in inputs:
        _set_tensor(config.input.add(), spec, batched=config.max_batch_size > 0)
    for spec in outputs:
        _set_tensor(config.output.add(), spec, batched=config.max_batch_size > 0)


def _set_tensor(tensor: pb.ModelInput | pb.ModelOutput, spec: TensorSpec, *, batched: bool) -> None:
    tensor.name = spec.name
    tensor.data_type = pb.DataType.Value(triton_name(spec.datatype))
    dims = spec.shape[1:] if batched else spec.shape
    if not dims:
        # Triton allows no tensor without sides, only one that the graph sees without them.
        tensor.reshape.SetInParent()
    tensor.dims.extend(dims or (1,))
