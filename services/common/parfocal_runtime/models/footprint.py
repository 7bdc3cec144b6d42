"""How much memory a model takes, told from its graph before it is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parfocal_runtime.models.buckets import sizes
from parfocal_runtime.models.config_pbtxt import DEFAULT_MAX_BATCH_SIZE
from parfocal_runtime.models.graph import parsed
from parfocal_runtime.models.placement import Placement
from parfocal_runtime.triton.v1 import model_config_pb2 as pb


@dataclass(frozen=True)
class Footprint:
    """Memory of a model in bytes.

    Attributes:
        weights: Of its weights, in all sessions.
        activations: Of what its largest runs keep at a time, all instances at once.
        row: Of what a run keeps at a time for each row; 0 where it has none.
    """

    weights: int = 0
    activations: int = 0
    row: int = 0

    @property
    def total(self) -> int:
        """Of both."""
        return self.weights + self.activations


def footprint(
    model: bytes,
    config: pb.ModelConfig | None,
    places: Sequence[Placement],
    shapes: Mapping[str, Sequence[int]],
) -> Footprint:
    """Return how much memory a model takes where it runs at its largest.

    It is told from the graph: each result is kept from where it is made to where it is last
    needed. What operators take for themselves, and what results share, is not in it.

    Args:
        model: The ONNX file.
        config: Its configuration; None is the default.
        places: Where it runs.
        shapes: Shapes of its test inputs by name, which stand for sides that the graph leaves
            free.

    Raises:
        InvalidInput: If it is no self-contained ONNX model (`ERROR_REASON_INVALID_MODEL`).
    """
    message = parsed(model)
    weights = sum(_nbytes(each.data_type, each.dims) for each in message.graph.initializer)
    config = config or _default()
    most = config.max_batch_size if _name_rows(message.graph) else 0
    each_row = _peak(message, shapes, is_batched=most > 0)
    sessions, rows = 0, 0
    for place in places:
        runs: tuple[int, ...] = (max(1, most),)
        if place.options.on_gpu and config.HasField("dynamic_batching") and most:
            # Each size of a run has a session of its own there.
            runs = sizes(config)
        sessions += len(runs) + place.has_single
        rows += sum(runs) * place.instances + place.side_by_side
    return Footprint(weights * sessions, each_row * rows, each_row if most else 0)


def rows_are_free(model: bytes) -> bool:
    """Return whether a graph takes and gives any number of rows.

    Raises:
        InvalidInput: If it is no self-contained ONNX model (`ERROR_REASON_INVALID_MODEL`).
    """
    return _name_rows(parsed(model).graph)


def _default() -> pb.ModelConfig:
    config = pb.ModelConfig(max_batch_size=DEFAULT_MAX_BATCH_SIZE)
    config.dynamic_batching.SetInParent()
    return config


def _name_rows(graph: Any) -> bool:
    """Return whether all inputs and outputs leave their first side free."""
    tensors = [*_inputs(graph), *graph.output]
    firsts = [each.type.tensor_type.shape.dim[:1] for each in tensors]
    return bool(firsts) and all(first and not first[0].HasField("dim_value") for first in firsts)


def _inputs(graph: Any) -> list[Any]:
    weights = {each.name for each in graph.initializer}
    return [each for each in graph.input if each.name not in weights]


def _peak(message: Any, shapes: Mapping[str, Sequence[int]], *, is_batched: bool) -> int:
    """Return the most bytes that results take at a time in a run of one row, or of the test."""
    from onnx import shape_inference

    for each in _inputs(message.graph):
        for at, dim in enumerate(each.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                test = shapes.get(each.name, ())
                side = test[at] if at < len(test) else 1
                dim.dim_value = 1 if is_batched and at == 0 else side
    # The outputs' own sides have names, and would be kept against what follows from the inputs.
    for each in message.graph.output:
        each.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(message).graph
    known = (*_inputs(graph), *graph.value_info, *graph.output)
    return _most_alive(graph, {each.name: _bytes_of(each.type.tensor_type) for each in known})


def _most_alive(graph: Any, size: Mapping[str, int]) -> int:
    last = {name: at for at, node in enumerate(graph.node) for name in node.input}
    last |= {each.name: len(graph.node) for each in graph.output}
    alive = {each.name: size.get(each.name, 0) for each in _inputs(graph)}
    most = sum(alive.values())
    for at, node in enumerate(graph.node):
        alive |= {name: size.get(name, 0) for name in node.output}
        most = max(most, sum(alive.values()))
        alive = {name: taken for name, taken in alive.items() if last.get(name, at) > at}
    return most


def _bytes_of(tensor: Any) -> int:
    sides = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    return _nbytes(tensor.elem_type, sides) if tensor.HasField("shape") else 0


def _nbytes(element: int, sides: Sequence[int]) -> int:
    from onnx import TensorProto, helper

    if element in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    return math.prod(sides) * int(helper.tensor_dtype_to_np_dtype(element).itemsize)
