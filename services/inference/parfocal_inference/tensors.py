"""Tensors of the Open Inference Protocol, from the wire to numpy and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.datatypes import BYTES, Array
from parfocal_runtime.models.sessions import TensorSpec

_LONGEST_SIDE = 2**31 - 1
# Rows without data cost nothing to send, and as much as others to put into a queue.
_LONGEST_WITHOUT_DATA = 2**16
_SHARED_MEMORY = "shared_memory_region"
_CLASSIFICATION = "classification"
# The list of `InferTensorContents` that carries each type; 16-bit floats have none.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def inputs_from_pb(request: pb.ModelInferRequest, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the input arrays of a request by name.

    Raw contents of fixed-size types are not copied: the arrays are read-only views of them. BYTES
    are object arrays of `bytes`, BF16 is uint16 bits.

    Args:
        request: The request.
        specs: Inputs of the model.

    Raises:
        InvalidInput: If an input is missing, unknown, there twice, of another type or shape than
            the model's, or its contents do not fit its shape; the metadata names the field.
    """
    is_raw = _is_raw(request)
    known = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(request.inputs):
        field = f"inputs[{i}]"
        if tensor.name not in known:
            raise _invalid(f"{field}.name", f"the model has no input {tensor.name!r}")
        if tensor.name in arrays:
            raise _invalid(f"{field}.name", f"input {tensor.name} is there twice")
        shape = _shape(tensor, known[tensor.name], field)
        if is_raw:
            arrays[tensor.name] = _from_raw(
                request.raw_input_contents[i],
                known[tensor.name],
                shape,
                f"raw_input_contents[{i}]",
            )
        else:
            arrays[tensor.name] = _from_contents(
                tensor.contents, known[tensor.name], shape, f"{field}.contents"
            )
    _require_all(arrays, specs)
    return arrays


def outputs_from_pb(request: pb.ModelInferRequest, specs: Sequence[TensorSpec]) -> list[str]:
    """Return the names of the outputs that a request wants, all of `specs` if it names none.

    Raises:
        InvalidInput: If one is unknown or there twice, or wanted in shared memory or as the names
            of its largest elements.
    """
    known = {spec.name for spec in specs}
    names: list[str] = []
    for i, output in enumerate(request.outputs):
        if output.name not in known:
            raise _invalid(f"outputs[{i}].name", f"the model has no output {output.name!r}")
        if output.name in names:
            raise _invalid(f"outputs[{i}].name", f"output {output.name} is there twice")
        if _SHARED_MEMORY in output.parameters:
            raise _invalid(f"outputs[{i}].parameters", "shared memory is not supported")
        if _CLASSIFICATION in output.parameters:
            # Whoever wants names of classes would read elements as such.
            raise _invalid(f"outputs[{i}].parameters", "classification is not supported")
        names.append(output.name)
    return names or [spec.name for spec in specs]


def outputs_to_pb(
    response: pb.ModelInferResponse, arrays: Mapping[str, Array], specs: Sequence[TensorSpec]
) -> None:
    """Add arrays to a response, in their order and as raw contents.

    Args:
        response: The response.
        arrays: Outputs by name.
        specs: Outputs of the model.
    """
    datatypes = {spec.name: spec.datatype for spec in specs}
    for name, array in arrays.items():
        response.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        response.raw_output_contents.append(_to_raw(array, datatypes[name]))


def spec_to_pb(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """Return what a client must know of a tensor."""
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )


def _is_raw(request: pb.ModelInferRequest) -> bool:
    for i, tensor in enumerate(request.inputs):
        if _SHARED_MEMORY in tensor.parameters:
            raise _invalid(f"inputs[{i}].parameters", "shared memory is not supported")
    count = len(request.raw_input_contents)
    if not count:
        return False
    for i, tensor in enumerate(request.inputs):
        if tensor.HasField("contents") and tensor.contents.ListFields():
            raise _invalid(
                f"inputs[{i}].contents", "contents must be absent where raw_input_contents is used"
            )
    if count != len(request.inputs):
        raise _invalid(
            "raw_input_contents",
            f"raw_input_contents has {count} entries for {len(request.inputs)} inputs",
        )
    return True


def _shape(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec, field: str
) -> tuple[int, ...]:
    if tensor.datatype != spec.datatype:
        raise InvalidInput(
            "ERROR_REASON_DTYPE_MISMATCH",
            f"input {spec.name} must be {spec.datatype}, got {tensor.datatype or 'no datatype'}",
            field=f"{field}.datatype",
            dtype=tensor.datatype,
            expected=spec.datatype,
        )
    shape = tuple(tensor.shape)
    if not spec.fits(shape) or min(shape, default=0) < 0 or max(shape, default=0) > _LONGEST_SIDE:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"input {spec.name} must have shape {list(spec.shape)}, got {list(shape)}",
            field=f"{field}.shape",
            shape=list(shape),
            expected=list(spec.shape),
        )
    if 0 in shape and max(shape) > _LONGEST_WITHOUT_DATA:
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"input {spec.name} of shape {list(shape)} has no data, and then no side may be longer "
            f"than {_LONGEST_WITHOUT_DATA}",
            field=f"{field}.shape",
            shape=list(shape),
            expected=list(spec.shape),
        )
    return shape


def _from_raw(data: bytes, spec: TensorSpec, shape: tuple[int, ...], field: str) -> Array:
    count = math.prod(shape)
    if spec.datatype == BYTES:
        return _objects(_split(data, count, field), shape, field)
    dtype = spec.dtype.newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise _invalid(
            field,
            f"input {spec.name} of shape {list(shape)} takes {count * dtype.itemsize} bytes, "
            f"got {len(data)}",
        )
    if spec.datatype == "BOOL":
        return _shaped(np.frombuffer(data, dtype=np.uint8) != 0, shape, field)
    array = np.frombuffer(data, dtype=dtype).astype(spec.dtype, copy=False)
    return _shaped(array, shape, field)


def _from_contents(
    contents: pb.InferTensorContents, spec: TensorSpec, shape: tuple[int, ...], field: str
) -> Array:
    wanted = _CONTENTS.get(spec.datatype)
    if wanted is None:
        raise _invalid(field, f"{spec.datatype} can only be sent in raw_input_contents")
    for descriptor, _ in contents.ListFields():
        if descriptor.name != wanted:
            raise _invalid(
                f"{field}.{descriptor.name}", f"{spec.datatype} must be sent in {wanted}"
            )
    values = getattr(contents, wanted)
    if len(values) != math.prod(shape):
        raise _invalid(
            field,
            f"input {spec.name} of shape {list(shape)} takes {math.prod(shape)} elements, "
            f"got {len(values)}",
        )
    if spec.datatype == BYTES:
        return _objects(list(values), shape, field)
    return _shaped(_in_range(values, spec, field), shape, field)


def _in_range(values: Sequence[Any], spec: TensorSpec, field: str) -> Array:
    # Small whole numbers travel as 32 bits; numpy would cut them without a word.
    is_small = spec.dtype.kind in "iu" and spec.dtype.itemsize < 4
    sent = np.array(values, dtype=np.int64 if is_small else spec.dtype)
    array = sent.astype(spec.dtype, copy=False)
    if is_small and not np.array_equal(array, sent):
        raise _invalid(field, f"an element does not fit {spec.datatype}")
    return array


def _split(data: bytes, count: int, field: str) -> list[bytes]:
    """Return the elements of a BYTES tensor: each is behind its length, 4 bytes."""
    items: list[bytes] = []
    at = 0
    while at + 4 <= len(data) and len(items) < count:
        (length,) = struct.unpack_from("<I", data, at)
        items.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(data) or len(items) != count:
        raise _invalid(field, f"the bytes are not {count} elements, each behind its length")
    return items


def _objects(items: Sequence[bytes], shape: tuple[int, ...], field: str) -> Array:
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return _shaped(array, shape, field)


def _shaped(array: Array, shape: tuple[int, ...], field: str) -> Array:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise _invalid(field, f"there are no arrays of shape {list(shape)}") from error


def _require_all(arrays: Mapping[str, Array], specs: Sequence[TensorSpec]) -> None:
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD",
            f"these inputs are missing: {', '.join(missing)}",
            field="inputs",
            missing=", ".join(missing),
        )


def _to_raw(array: Array, datatype: str) -> bytes:
    if datatype == BYTES:
        items: list[bytes] = array.ravel().tolist()
        return b"".join(struct.pack("<I", len(item)) + item for item in items)
    little = array.dtype.newbyteorder("<")
    return array.astype(little, order="C", copy=False).tobytes()


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_INVALID_FIELD", message, field=field)
