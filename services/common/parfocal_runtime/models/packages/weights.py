"""The ONNX graph of a package, with all its weights inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from parfocal_runtime.models.packages.files import MOST_WEIGHTS_BYTES
from parfocal_runtime.models.packages.graphs import graphs_of, nodes_of
from parfocal_runtime.models.packages.refusals import refused

Read = Callable[[str], bytes]
"""Returns the content of a file beside the ONNX file, and refuses a path that leads elsewhere."""


def read_graph(content: bytes, read_external: Read) -> Any:
    """Return the `onnx.ModelProto` of a file, with weights that lie outside of it put inside.

    Raises:
        InvalidInput: If it is no ONNX model, or its weights are not where it says
            (`ERROR_REASON_INVALID_MODEL`).
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise refused("weights.onnx", "the file is truncated or no ONNX file") from error
    if not all(isinstance(name, str) for name in _texts(model)):
        raise refused("weights.onnx", "its names are not UTF-8")
    files: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _take_in(tensor, files, read_external)
    return model


def _take_in(tensor: Any, files: dict[str, bytes], read: Read) -> None:
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    if location not in files:
        files[location] = read(location)
        if sum(map(len, files.values())) > MOST_WEIGHTS_BYTES:
            raise refused("weights.onnx", f"they have more than {MOST_WEIGHTS_BYTES} bytes")
    content = files[location]
    try:
        size = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        start, length = int(said.get("offset", 0)), int(said.get("length", size))
    except (ValueError, KeyError, TypeError) as error:
        raise refused("weights.onnx", f"where {tensor.name} lies cannot be read") from error
    if length < 0 or start < 0 or start + length > len(content):
        raise refused("weights.onnx", f"{location} ends before the weights of {tensor.name}")
    tensor.raw_data = content[start : start + length]
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _tensors(model: Any) -> Iterator[Any]:
    for graph in graphs_of(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _texts(model: Any) -> Iterator[Any]:
    """Yield names; protobuf gives those that are not UTF-8 as bytes."""
    for graph in graphs_of(model):
        for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            yield info.name
    for node in nodes_of(model):
        yield from (node.name, *node.input, *node.output)
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
