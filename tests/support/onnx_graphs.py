"""Small ONNX graphs that tests publish and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from parfocal_runtime.models.cards import CardFields, base_card

Shape = Sequence[int | str | None]
WINDOW = (4, 8, 8)


def graph(
    nodes: Sequence[Any],
    *,
    inputs: Sequence[tuple[str, int, Shape | None]],
    outputs: Sequence[tuple[str, int, Shape | None]],
    constants: Sequence[Any] = (),
) -> bytes:
    """Return a serialised model of `nodes`; tensors are (name, element type, shape)."""
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        list(constants),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def identity(element: int = TensorProto.FLOAT, shape: Shape = ("n", 2)) -> bytes:
    """Return a model with output `y` equal to input `x`."""
    return graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[("x", element, shape)],
        outputs=[("y", element, shape)],
    )


def sum_and_product() -> bytes:
    """Return a model of two float inputs `a`, `b` (n, 2) with the outputs `sum`, `product`."""
    shape = ("n", 2)
    return graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Mul", ["a", "b"], ["product"]),
        ],
        inputs=[("a", TensorProto.FLOAT, shape), ("b", TensorProto.FLOAT, shape)],
        outputs=[("sum", TensorProto.FLOAT, shape), ("product", TensorProto.FLOAT, shape)],
    )


def base_model(window: tuple[int, int, int] = WINDOW, *, divisor: float = 255.0) -> bytes:
    """Return a base model whose probability is the grey value over `divisor`."""
    shape = ("n", 1, *window)
    return graph(
        [
            helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["grey", "divisor"], ["probability"]),
        ],
        inputs=[("image", TensorProto.UINT8, shape)],
        outputs=[("probability", TensorProto.FLOAT, shape)],
        constants=[helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor])],
    )


def base_model_card(window: tuple[int, int, int] = WINDOW, *, divisor: float = 255.0) -> CardFields:
    """Return the card of `base_model`, true if `divisor` is the model's."""
    image = np.random.default_rng(0).integers(0, 256, (2, 1, *window), dtype=np.uint8)
    probability: npt.NDArray[np.float32] = (image / np.float32(divisor)).astype(np.float32)
    return base_card(
        "Grey values as probabilities.",
        test_input=image,
        test_output=probability,
        halo=(0, 2, 2),
        voxel_size_nm=(50.0, 4.6, 4.6),
    )


def encoder(dimensions: int = 16, *, element: int = TensorProto.UINT8) -> bytes:
    """Return an encoder of 4 x (dimensions / 4) patches that gives their pixels as floats."""
    return graph(
        [
            helper.make_node("Cast", ["patch"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["embedding"]),
        ],
        inputs=[("patch", element, ("n", 1, 4, dimensions // 4))],
        outputs=[("embedding", TensorProto.FLOAT, ("n", dimensions))],
    )


def longest_of_a_run() -> bytes:
    """Return a model whose rows `y` (n, k) are as long as the largest `length` (n,) of the run."""
    return graph(
        [
            helper.make_node("ReduceMax", ["length"], ["most"], keepdims=0),
            helper.make_node("Unsqueeze", ["most", "zero"], ["end"]),
            helper.make_node("Slice", ["x", "zero", "end", "one"], ["y"]),
        ],
        inputs=[("x", TensorProto.FLOAT, ("n", 8)), ("length", TensorProto.INT64, ("n",))],
        outputs=[("y", TensorProto.FLOAT, ("n", "k"))],
        constants=[
            helper.make_tensor(name, TensorProto.INT64, [1], [value])
            for name, value in (("zero", 0), ("one", 1))
        ],
    )
