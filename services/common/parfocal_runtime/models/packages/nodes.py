"""Operations as ONNX nodes, in the operator set of the graph that they join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import onnx
from onnx import helper, numpy_helper

from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.packages.operations import (
    Axes,
    Binarize,
    Clip,
    Constant,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    Operation,
    Percentile,
    ScaleLinear,
    ScaleMeanVariance,
    ScaleRange,
    Sigmoid,
    Softmax,
    ZeroMeanUnitVariance,
)

FLOAT, DOUBLE, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64

_LEAST_OPSET = 9
_LEAST_OPSET_OF_PERCENTILES = 11
# From which operator set on a reduction takes its axes as an input.
_AXES_ARE_INPUTS = {"ReduceSum": 13}
_AXES_OF_OTHERS_ARE_INPUTS = 18


def element_type(dtype: str) -> int:
    """Return ONNX's number of an element type, by numpy's name."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def least_opset(operations: Iterable[Operation]) -> int:
    """Return the oldest operator set in which the operations can be written."""
    least = 0
    for operation in operations:
        match operation:
            case ScaleRange(low, high) | Clip(low, high) if any(map(_is_sorted, (low, high))):
                least = max(least, _LEAST_OPSET_OF_PERCENTILES)
            case _:
                least = max(least, _LEAST_OPSET)
    return least


def _is_sorted(bound: float | Percentile | None) -> bool:
    return isinstance(bound, Percentile) and bound.q not in (0.0, 100.0)


class NodeWriter:
    """Writes nodes for a graph and knows the element type of each value it made.

    Arithmetic is done in float32, and in float64 where the tensor is float64.

    Args:
        opset: Version of the standard operator set that the graph is written in.
        prefix: Begins the names of all values and nodes made; no name of the graph begins so.
        raw: ONNX element type of each raw input tensor, by the name of its value.

    Attributes:
        constants: What the nodes need, as `onnx.TensorProto`.
    """

    def __init__(self, *, opset: int, prefix: str, raw: Mapping[str, int]) -> None:
        self.constants: list[Any] = []
        self._nodes: list[Any] = []
        self._opset = opset
        self._prefix = prefix
        self._types = dict(raw)
        self._count = 0

    def take_nodes(self) -> list[Any]:
        """Return the nodes written since the last call, in their order."""
        taken, self._nodes = self._nodes, []
        return taken

    def adopt(self, value: str, element: int) -> None:
        """Take note of a value of the graph and its element type."""
        self._types[value] = element

    def finish(self, value: str, name: str, *, element: int) -> None:
        """Give a value the name and the element type with which it goes on."""
        last = self.cast(value, element)
        self._nodes.append(helper.make_node("Identity", [last], [name], name=self._fresh("node")))

    def apply(self, operation: Operation, value: str, *, rank: int) -> str:
        """Append an operation and return the name of its result.

        Args:
            operation: What to do.
            value: Name of the value to do it to.
            rank: How many axes the value has.
        """
        match operation:
            case EnsureDtype(dtype):
                return self.cast(value, element_type(dtype))
            case Binarize(threshold):
                x = self._floating(value)
                bound = self._constant(threshold, x, rank)
                above = self._typed(onnx.TensorProto.BOOL, "Greater", x, bound)
                return self.cast(above, self._types[x])
            case Clip(low, high):
                return self._clip(self._floating(value), low, high, rank)
            case ScaleLinear(gain, offset):
                x = self._floating(value)
                scaled = self._node("Mul", x, self._constant(gain, x, rank))
                return self._node("Add", scaled, self._constant(offset, x, rank))
            case Sigmoid():
                return self._node("Sigmoid", self._floating(value))
            case Softmax(axis):
                return self._softmax(self._floating(value), axis)
            case FixedZeroMeanUnitVariance(mean, std):
                x = self._floating(value)
                centred = self._node("Sub", x, self._constant(mean, x, rank))
                return self._node("Div", centred, self._constant(std, x, rank))
            case ZeroMeanUnitVariance(axes, eps):
                centred, _, deviation = self._moments(self._floating(value), axes)
                return self._node("Div", centred, self._plus(deviation, eps))
            case ScaleRange():
                return self._scale_range(self._floating(value), operation, rank)
            case ScaleMeanVariance(reference, axes, eps):
                return self._match(self._floating(value), reference, axes, eps)
            case _:
                assert_never(operation)

    def cast(self, value: str, element: int) -> str:
        """Return a value as another element type; itself where it has that type."""
        if self._types[value] == element:
            return value
        return self._typed(element, "Cast", value, to=element)

    def _clip(
        self, x: str, low: float | Percentile | None, high: float | Percentile | None, rank: int
    ) -> str:
        # Both bounds are those of the tensor before it is clipped.
        bounds = [
            self._percentile(x, bound, rank)
            if isinstance(bound, Percentile)
            else None
            if bound is None
            else self._number(bound, x)
            for bound in (low, high)
        ]
        for operator, bound in zip(("Max", "Min"), bounds, strict=True):
            x = x if bound is None else self._node(operator, x, bound)
        return x

    def _softmax(self, x: str, axis: int) -> str:
        # Spelt out, because the operator means another thing before operator set 13.
        powers = self._node("Exp", self._node("Sub", x, self._reduced("ReduceMax", x, (axis,))))
        return self._node("Div", powers, self._reduced("ReduceSum", powers, (axis,)))

    def _moments(self, x: str, axes: Axes) -> tuple[str, str, str]:
        """Return the tensor less its mean, the mean and the standard deviation."""
        mean = self._reduced("ReduceMean", x, axes)
        centred = self._node("Sub", x, mean)
        variance = self._reduced("ReduceMean", self._node("Mul", centred, centred), axes)
        return centred, mean, self._node("Sqrt", variance)

    def _match(self, x: str, reference: str, axes: Axes, eps: float) -> str:
        centred, _, deviation = self._moments(x, axes)
        _, mean, wanted = self._moments(self.cast(reference, self._types[x]), axes)
        unit = self._node("Div", centred, self._plus(deviation, eps))
        return self._node("Add", self._node("Mul", unit, self._plus(wanted, eps)), mean)

    def _scale_range(self, x: str, operation: ScaleRange, rank: int) -> str:
        reference = operation.reference
        source = x if reference is None else self.cast(reference, self._types[x])
        lower = self._percentile(source, operation.low, rank)
        upper = self._percentile(source, operation.high, rank)
        span = self._plus(self._node("Sub", upper, lower), operation.eps)
        return self._node("Div", self._node("Sub", x, lower), span)

    def _percentile(self, x: str, wanted: Percentile, rank: int) -> str:
        """Return a percentile, of length 1 along the axes that it is taken over."""
        if wanted.q in (0.0, 100.0):
            return self._reduced("ReduceMin" if wanted.q == 0 else "ReduceMax", x, wanted.axes)
        kept = [axis for axis in range(rank) if axis not in wanted.axes]
        order = [*kept, *wanted.axes]
        # 0 keeps a length; what is reduced becomes one axis, and the number of axes stays.
        shape = [0] * len(kept) + [-1] + [1] * (len(wanted.axes) - 1)
        turned = self._node("Transpose", x, perm=order)
        flat = self._node("Reshape", turned, self._integers(*shape))
        found = self._ranked(flat, wanted, axis=len(kept))
        return self._node("Transpose", found, perm=[order.index(axis) for axis in range(rank)])

    def _ranked(self, flat: str, wanted: Percentile, *, axis: int) -> str:
        """Return a percentile along an axis.

        Only the nearer end of the order is sorted: the first percentile of a window costs little.
        """
        share = wanted.q / 100
        count = self._node("Gather", self._typed(INT64, "Shape", flat), self._integers(axis))
        last = self._node("Sub", count, self._integers(1))
        place = self._place(count, last, wanted.method, share)
        floor, ceil = self._node("Floor", place), self._node("Ceil", place)
        below, above = self.cast(floor, INT64), self.cast(ceil, INT64)
        needed = self._node("Add", above, self._integers(1))
        from_above = share >= 0.5
        if from_above:
            needed = self._node("Sub", count, below)
            below, above = (self._node("Sub", last, index) for index in (below, above))
        ordered = self._node(
            "TopK", flat, needed, axis=axis, largest=int(from_above), spare_outputs=1
        )
        high = self._node("Gather", ordered, above, axis=axis)
        if wanted.method == "inverted_cdf":
            return high
        low = self._node("Gather", ordered, below, axis=axis)
        part = self.cast(self._node("Sub", place, floor), self._types[flat])
        return self._node("Add", low, self._node("Mul", self._node("Sub", high, low), part))

    def _place(self, count: str, last: str, method: str, share: float) -> str:
        """Return the place of a percentile in the order, as numpy computes it."""
        # float32 counts to 2^24 only, and a window has more voxels.
        portion = self._values([share], DOUBLE)
        if method == "linear":
            return self._node("Mul", self.cast(last, DOUBLE), portion)
        place = self._node("Mul", self.cast(count, DOUBLE), portion)
        behind = self._node("Sub", place, self._values([1.0], DOUBLE))
        return self._node("Max", behind, self._values([0.0], DOUBLE))

    def _reduced(self, operator: str, x: str, axes: Axes) -> str:
        if self._opset >= _AXES_ARE_INPUTS.get(operator, _AXES_OF_OTHERS_ARE_INPUTS):
            return self._node(operator, x, self._integers(*axes), keepdims=1)
        return self._node(operator, x, axes=list(axes), keepdims=1)

    def _plus(self, x: str, number: float) -> str:
        return self._node("Add", x, self._number(number, x))

    def _floating(self, value: str) -> str:
        return self.cast(value, DOUBLE if self._types[value] == DOUBLE else FLOAT)

    def _number(self, number: float, like: str) -> str:
        return self._values(number, self._types[like])

    def _constant(self, constant: Constant, like: str, rank: int) -> str:
        if constant.axis is None:
            return self._number(constant.values[0], like)
        sides = [1] * rank
        sides[constant.axis] = -1
        return self._values(np.reshape(constant.values, sides), self._types[like])

    def _integers(self, *numbers: int) -> str:
        return self._values(numbers, INT64)

    def _values(self, values: Array | Sequence[float] | float, element: int) -> str:
        name = self._fresh("constant")
        array = np.asarray(values, helper.tensor_dtype_to_np_dtype(element))
        self.constants.append(numpy_helper.from_array(array, name))
        self._types[name] = element
        return name

    def _node(self, operator: str, *inputs: str, spare_outputs: int = 0, **attributes: Any) -> str:
        """Append a node whose first output has the type of its first input, and return that."""
        return self._typed(
            self._types[inputs[0]], operator, *inputs, spare_outputs=spare_outputs, **attributes
        )

    def _typed(
        self, element: int, operator: str, *inputs: str, spare_outputs: int = 0, **attributes: Any
    ) -> str:
        outputs = [self._fresh(operator) for _ in range(1 + spare_outputs)]
        self._nodes.append(
            helper.make_node(operator, inputs, outputs, name=self._fresh("node"), **attributes)
        )
        self._types[outputs[0]] = element
        return outputs[0]

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what.lower()}_{self._count}"
