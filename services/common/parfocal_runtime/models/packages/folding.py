"""A graph with its pre- and post-processing inside: raw tensors in, finished ones out.

See docs/decisions/0012-processing-is-part-of-the-graph.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from parfocal_runtime.models.packages.description import Description, Tensor
from parfocal_runtime.models.packages.graphs import nested_graphs
from parfocal_runtime.models.packages.nodes import NodeWriter, element_type, least_opset
from parfocal_runtime.models.packages.refusals import refused

# Older files list constants among the inputs and allow no others.
_LEAST_IR_VERSION = 4


def folded(model: Any, description: Description) -> Any:
    """Return a graph that computes what the whole package describes.

    Inputs and outputs get the names and element types of the description. The order is kept: the
    format matches tensors and the graph's inputs and outputs by position.

    Args:
        model: An `onnx.ModelProto` that holds its weights; it is changed.
        description: Of the package.

    Raises:
        InvalidInput: If the two do not fit together, or the graph's operator set is too old for
            the processing (`ERROR_REASON_INVALID_MODEL`).
    """
    graph = model.graph
    model.ir_version = max(model.ir_version, _LEAST_IR_VERSION)
    _drop_constants_among_inputs(graph)
    prefix = _unused_prefix(graph)
    names = [tensor.name for tensor in (*description.inputs, *description.outputs)]
    _rename(graph, {name: f"{prefix}graph/{name}" for name in names})
    writer = NodeWriter(
        opset=_checked_opset(model, description),
        prefix=prefix,
        raw={tensor.name: element_type(tensor.dtype) for tensor in description.inputs},
    )
    inputs = _before(writer, graph.input, description.inputs)
    before = writer.take_nodes()
    outputs = _after(writer, graph.output, description.outputs)
    nodes = [*before, *graph.node, *writer.take_nodes()]
    _replace(graph.node, nodes)
    _replace(graph.input, inputs)
    _replace(graph.output, outputs)
    graph.initializer.extend(writer.constants)
    return model


def _before(writer: NodeWriter, infos: Sequence[Any], tensors: Sequence[Tensor]) -> list[Any]:
    """Write what is done to raw inputs, and return these."""
    _check_count("inputs", infos, tensors)
    raw = []
    for info, tensor in zip(infos, tensors, strict=True):
        value = tensor.name
        for operation in tensor.processing:
            value = writer.apply(operation, value, rank=len(tensor.axes))
        writer.finish(value, info.name, element=_element("inputs", info))
        raw.append(_described(info, tensor, "inputs"))
    return raw


def _after(writer: NodeWriter, infos: Sequence[Any], tensors: Sequence[Tensor]) -> list[Any]:
    """Write what is done to the graph's outputs, and return what comes of it."""
    _check_count("outputs", infos, tensors)
    finished = []
    for info, tensor in zip(infos, tensors, strict=True):
        value = info.name
        writer.adopt(value, _element("outputs", info))
        for operation in tensor.processing:
            value = writer.apply(operation, value, rank=len(tensor.axes))
        writer.finish(value, tensor.name, element=element_type(tensor.dtype))
        finished.append(_described(info, tensor, "outputs"))
    return finished


def _described(info: Any, tensor: Tensor, role: str) -> Any:
    """Return an input or output of the whole: of the graph's shape, by the tensor's name."""
    described = onnx.ValueInfoProto(name=tensor.name)
    kind = described.type.tensor_type
    kind.elem_type = element_type(tensor.dtype)
    if not info.type.tensor_type.HasField("shape"):
        for _ in tensor.axes:
            kind.shape.dim.add()
        return described
    kind.shape.CopyFrom(info.type.tensor_type.shape)
    rank = len(kind.shape.dim)
    if rank != len(tensor.axes):
        raise refused(
            f"{role}.{tensor.name}.axes", f"there are {len(tensor.axes)}, and {rank} in the graph"
        )
    if rank and not kind.shape.dim[0].HasField("dim_value") and tensor.axes[0].type != "batch":
        # A first axis of free length counts rows of different callers.
        raise refused(f"{role}.{tensor.name}.axes", "the first axis must be the batch")
    return described


def _element(role: str, info: Any) -> int:
    element = int(info.type.tensor_type.elem_type)
    if not info.type.HasField("tensor_type") or not element:
        raise refused("weights.onnx", f"{role[:-1]} {info.name} of the graph is no dense tensor")
    return element


def _check_count(role: str, infos: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    if len(infos) != len(tensors):
        raise refused(role, f"there are {len(tensors)}, and {len(infos)} in the graph")


def _checked_opset(model: Any, description: Description) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise refused("weights.onnx", "the graph names no operator set")
    opset = int(max(versions))
    for tensor in (*description.inputs, *description.outputs):
        least = least_opset(tensor.processing)
        if opset < least:
            raise refused(
                "weights.onnx",
                f"the processing of {tensor.name} needs operator set {least} or newer, "
                f"the graph has {opset}",
            )
    return opset


def _drop_constants_among_inputs(graph: Any) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    _replace(graph.input, [info for info in graph.input if info.name not in constants])


def _replace(repeated: Any, content: Sequence[Any]) -> None:
    # Parts of a message that is emptied must not be relied on.
    kept = [copy.deepcopy(each) for each in content]
    del repeated[:]
    repeated.extend(kept)


def _unused_prefix(graph: Any) -> str:
    names = list(_names(graph))
    prefix = "parfocal/"
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    return prefix


def _names(graph: Any) -> Iterator[str]:
    for each in nested_graphs(graph):
        for info in (*each.input, *each.output, *each.initializer):
            yield info.name
        for node in each.node:
            yield node.name
            yield from node.output


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give values other names wherever they occur; a name means one value all the way down."""
    for each in nested_graphs(graph):
        for info in (*each.input, *each.output, *each.value_info, *each.initializer):
            info.name = names.get(info.name, info.name)
        for tensor in each.sparse_initializer:
            tensor.values.name = names.get(tensor.values.name, tensor.values.name)
        for node in each.node:
            for side in (node.input, node.output):
                for i, name in enumerate(side):
                    if name in names:
                        side[i] = names[name]
